// Package cordon makes a Node unschedulable, and removes only a cordon that carries its own
// annotation.
package cordon

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/retry"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Set cordons the Node to keep new Pods away: neither the scheduler nor the DaemonSet controller
// evaluates its deletionTimestamp. A cordoned Node is not changed. If the Node was deleted or
// recreated under its name, the error is of kind NotFound or Invalid.
func Set(ctx context.Context, nodes corev1client.NodeInterface, node *corev1.Node) error {
	return change(ctx, nodes, node, "cordoning", func(current *corev1.Node) map[string]any {
		if current.Spec.Unschedulable {
			return nil
		}
		return patch(api.Agent, true)
	})
}

// Remove uncordons the Node if its cordoned-by annotation names the agent.
func Remove(ctx context.Context, nodes corev1client.NodeInterface, node *corev1.Node) error {
	return change(ctx, nodes, node, "uncordoning", func(current *corev1.Node) map[string]any {
		if current.Annotations[api.AnnotationCordonedBy] != api.Agent {
			return nil
		}
		return patch(nil, nil)
	})
}

// manager writes only cordons, so its last write is the time of the cordon: see At.
const manager = api.Agent + "-cordon"

func patch(by, unschedulable any) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{api.AnnotationCordonedBy: by}},
		"spec":     map[string]any{"unschedulable": unschedulable},
	}
}

// change patches the Node as it was read. If another client wrote the Node in the meantime, it
// reads it again: that client may have cordoned it.
func change(ctx context.Context, nodes corev1client.NodeInterface, node *corev1.Node, operation string, patchFor func(*corev1.Node) map[string]any) error {
	current := node
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if current == nil {
			var err error
			if current, err = nodes.Get(ctx, node.Name, metav1.GetOptions{}); err != nil {
				return err
			}
		}
		change := patchFor(current)
		if change == nil {
			return nil
		}
		metadata := change["metadata"].(map[string]any)
		metadata["uid"], metadata["resourceVersion"] = node.UID, current.ResourceVersion
		current = nil
		data, err := json.Marshal(change)
		if err != nil {
			return err
		}
		_, err = nodes.Patch(ctx, node.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{FieldManager: manager})
		return err
	})
	if err != nil {
		return fmt.Errorf("%s node %s: %w", operation, node.Name, err)
	}
	return nil
}
