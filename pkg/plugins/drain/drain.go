package drain

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type plugin struct {
	options
	client kubernetes.Interface
	clock  clock.WithTicker
	// limiter is shared by all steps of the agent.
	limiter *Limiter
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	following, stop := context.WithCancel(ctx)
	defer stop()
	f := &follower{changed: make(chan struct{}, 1)}
	name := target.Node.Name
	nodes, err := f.follow(following, selection{client: p.client.CoreV1().RESTClient(), resource: "nodes", kind: &corev1.Node{}, fields: fields.OneTermEqualSelector(metav1.ObjectNameField, name)})
	if err != nil {
		return fmt.Errorf("reading node %s: %w", name, err)
	}
	node, err := same(target.Node, nodes)
	if err != nil {
		return err
	}
	if err := p.cordon(ctx, target, node); err != nil {
		return err
	}
	// Listed after the cordon, so that the list has every Pod that came before it.
	pods, err := f.follow(following, p.podsOn(name))
	if err != nil {
		return fmt.Errorf("listing the pods of node %s: %w", name, err)
	}
	d, counter := newDrain(p, target, list(pods)), newPodCounter()
	d.follow = func(s selection) (cache.Store, error) { return f.follow(following, s) }
	defer d.budgets.keep(nil)
	uncordoned, before := 0, node.ResourceVersion // For a while, the informer may return the Node without our own cordon.
	for {
		if node, err = same(target.Node, nodes); err != nil {
			return err
		}
		if !node.Spec.Unschedulable && node.ResourceVersion != before {
			before = node.ResourceVersion
			if uncordoned++; uncordoned > maxUncordoned {
				return fmt.Errorf("draining node %s: it was uncordoned %d times during the drain", node.Name, uncordoned)
			}
			target.Log.Warn("the node was uncordoned during its drain, the agent cordons it again", "times", uncordoned)
			if err := p.cordon(ctx, target, node); err != nil {
				return err
			}
		}
		remaining, err := d.advance(ctx, node, list(pods))
		if err != nil {
			return err
		}
		if len(remaining) == 0 {
			return nil
		}
		progress := d.describe(remaining)
		if uncordoned > 0 {
			progress += fmt.Sprintf("; the node was uncordoned and cordoned again (%d of at most %d times)", uncordoned, maxUncordoned)
		}
		if outage, wait := f.outage(); !wait {
			return fmt.Errorf("%s; their present state is unknown: %w", progress, outage)
		} else if outage != nil {
			progress += "; this may be out of date: " + oneLine(outage)
		}
		target.Progress(progress)
		target.Count(counter.count(remaining, func(pod *corev1.Pod) bool { return d.blockedReason(pod) != "" }, d.clock.Now()))
		if err := d.wait(ctx, f.changed); err != nil {
			return fmt.Errorf("%s: %w", progress, err)
		}
	}
}

// maxUncordoned is how often one call cordons a Node again: a controller that uncordons it each time
// must not cause endless evictions.
const maxUncordoned = 5

func (p *plugin) podsOn(node string) selection {
	return selection{client: p.client.CoreV1().RESTClient(), resource: "pods", kind: &corev1.Pod{}, fields: podsOf(node)}
}

// listPods returns the Pods of a Node as the API server has them now.
func (p *plugin) listPods(ctx context.Context, node string) ([]corev1.Pod, error) {
	list, err := p.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: podsOf(node).String()})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of node %s: %w", node, err)
	}
	return list.Items, nil
}

func podsOf(node string) fields.Selector { return fields.OneTermEqualSelector("spec.nodeName", node) }

// same returns the current Node if it has the same UID. Another Node may have its name.
func same(want *corev1.Node, nodes cache.Store) (*corev1.Node, error) {
	for _, object := range nodes.List() {
		if node := object.(*corev1.Node); node.UID == want.UID {
			return node, nil
		}
	}
	return nil, cleanup.Permanent(fmt.Errorf("draining node %s: the node with UID %s no longer exists", want.Name, want.UID))
}

// list returns the Pods of the cache, sorted by namespace and name.
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

// unreachable reports whether the node controller considers the kubelet unreachable.
func unreachable(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionUnknown
		}
	}
	return false
}
