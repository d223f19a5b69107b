package drain

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type plugin struct {
	options
	client kubernetes.Interface
	clock  clock.WithTicker
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	following, stop := context.WithCancel(ctx)
	defer stop()
	f := &follower{client: p.client.CoreV1().RESTClient(), clock: p.clock, changed: make(chan struct{}, 1)}
	name := target.Node.Name
	nodes, err := f.follow(following, "nodes", &corev1.Node{}, fields.OneTermEqualSelector(metav1.ObjectNameField, name))
	if err != nil {
		return fmt.Errorf("reading node %s: %w", name, err)
	}
	node, err := same(target.Node, nodes)
	if err != nil {
		return err
	}
	if err := p.cordon(ctx, node); err != nil {
		return err
	}
	// Listed only now, so that every pod is there that came before the cordon.
	pods, err := f.follow(following, "pods", &corev1.Pod{}, podsOf(name))
	if err != nil {
		return fmt.Errorf("listing the pods of node %s: %w", name, err)
	}
	d := newDrain(p, target, list(pods))
	for {
		if node, err = same(target.Node, nodes); err != nil {
			return err
		}
		left, err := d.advance(ctx, node, list(pods))
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		said := d.describe(left)
		target.Progress(said)
		if err := d.wait(ctx, f.changed); err != nil {
			return fmt.Errorf("%s: %w", said, err)
		}
	}
}

func podsOf(node string) fields.Selector { return fields.OneTermEqualSelector("spec.nodeName", node) }

// same returns the Node as it is now. The name may belong to another one by
// now, whose pods are none of our business.
func same(want *corev1.Node, nodes cache.Store) (*corev1.Node, error) {
	for _, object := range nodes.List() {
		if node := object.(*corev1.Node); node.UID == want.UID {
			return node, nil
		}
	}
	return nil, cleanup.Permanent(fmt.Errorf("draining node %s: the node with UID %s is gone", want.Name, want.UID))
}

// list returns the pods as they are known now, by namespace and name.
func list(pods cache.Store) []*corev1.Pod {
	var listed []*corev1.Pod
	for _, object := range pods.List() {
		listed = append(listed, object.(*corev1.Pod))
	}
	slices.SortFunc(listed, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return listed
}

// cordon keeps new pods away: neither the scheduler nor the DaemonSet controller
// looks at a Node's deletionTimestamp. The UID in the patch makes it fail for
// another Node of that name; the annotation tells our cordon from anybody else's.
func (p *plugin) cordon(ctx context.Context, node *corev1.Node) error {
	if node.Spec.Unschedulable {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID, "annotations": map[string]string{api.AnnotationCordonedBy: api.Agent}},
		"spec":     map[string]any{"unschedulable": true},
	})
	if err != nil {
		return fmt.Errorf("encoding the cordon of node %s: %w", node.Name, err)
	}
	if _, err := p.client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("cordoning node %s: %w", node.Name, err)
	}
	return nil
}

// unreachable reports whether the control plane has not heard of the kubelet for long.
func unreachable(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionUnknown
		}
	}
	return false
}
