package portworx

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Annotations on the Node keep what Withdraw needs, also after a restart of the agent: the labels before the step has
// changed them, and the node in the Portworx cluster that a Job removes.
const (
	annotationLabels = "nodecleanup.io/portworx-labels-before"
	annotationNode   = "nodecleanup.io/portworx-node"
)

// label sets a label of the Node. The first change also records both labels as they were.
func (p *plugin) label(ctx context.Context, current *corev1.Node, key, value string) error {
	metadata := map[string]any{"uid": current.UID, "labels": map[string]any{key: value}}
	if _, recorded := current.Annotations[annotationLabels]; !recorded {
		before := map[string]string{}
		for _, one := range []string{labelService, labelEnabled} {
			if was, set := current.Labels[one]; set {
				before[one] = was
			}
		}
		text, err := json.Marshal(before)
		if err != nil {
			return err
		}
		metadata["annotations"] = map[string]any{annotationLabels: string(text)}
	}
	if err := p.patch(ctx, current, metadata); err != nil {
		return fmt.Errorf("setting label %s=%s of node %s: %w", key, value, current.Name, err)
	}
	return nil
}

// record records on the Node that a Job removes a node from the Portworx cluster.
func (p *plugin) record(ctx context.Context, current *corev1.Node, id string) error {
	if current.Annotations[annotationNode] == id {
		return nil
	}
	if err := p.patch(ctx, current, map[string]any{"uid": current.UID, "annotations": map[string]any{annotationNode: id}}); err != nil {
		return fmt.Errorf("recording node %s of Portworx on node %s: %w", id, current.Name, err)
	}
	return nil
}

// patch changes the metadata of a Node. The UID makes the API server reject it for another Node of the same name.
func (p *plugin) patch(ctx context.Context, current *corev1.Node, metadata map[string]any) error {
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	_, err = p.kubernetes.CoreV1().Nodes().Patch(ctx, current.Name, types.MergePatchType, data, metav1.PatchOptions{})
	return err
}

// Withdraw implements cleanup.Withdrawer: it ends the Job, and restores the labels.
func (p *plugin) Withdraw(ctx context.Context, target cleanup.Target) error {
	current, err := p.kubernetes.CoreV1().Nodes().Get(ctx, target.Node.Name, metav1.GetOptions{})
	if api.Absent(err) || err == nil && current.UID != target.Node.UID {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading node %s: %w", target.Node.Name, err)
	}
	if id := current.Annotations[annotationNode]; id != "" {
		if err := p.endJob(ctx, target, id); err != nil {
			return err
		}
	}
	labels, err := labelsBefore(current)
	if err != nil || labels == nil && current.Annotations[annotationNode] == "" {
		return err
	}
	metadata := map[string]any{"uid": current.UID, "annotations": map[string]any{annotationLabels: nil, annotationNode: nil}}
	if labels != nil { // A null would remove all labels of the Node.
		metadata["labels"] = labels
	}
	if err := p.patch(ctx, current, metadata); err != nil {
		return fmt.Errorf("restoring the labels of node %s: %w", current.Name, err)
	}
	return nil
}

// labelsBefore returns the change that restores the labels of a Node, nil if the step has not changed them.
func labelsBefore(current *corev1.Node) (map[string]any, error) {
	text, recorded := current.Annotations[annotationLabels]
	if !recorded {
		return nil, nil
	}
	var before map[string]string
	if err := json.Unmarshal([]byte(text), &before); err != nil {
		return nil, cleanup.Permanent(fmt.Errorf("annotation %s of node %s is not what the plugin has written: %w", annotationLabels, current.Name, err))
	}
	labels := map[string]any{labelService: nil, labelEnabled: nil}
	for key, value := range before {
		labels[key] = value
	}
	// Portworx stays stopped until the label says start.
	if current.Labels[labelService] == serviceStop && before[labelService] != serviceStop {
		labels[labelService] = serviceStart
	}
	return labels, nil
}
