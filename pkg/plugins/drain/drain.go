package drain

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

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
	node, err := p.node(ctx, target.Node)
	if err != nil {
		return err
	}
	if err := p.cordon(ctx, node); err != nil {
		return err
	}
	pods, err := p.watch(ctx, node.Name)
	if err != nil {
		return err
	}
	defer pods.stop()
	d := &drain{plugin: p, target: target, unreachable: unreachable(node), tries: map[types.UID]*try{}}
	for {
		left, err := d.advance(ctx, pods.list())
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		said := d.describe(left)
		target.Progress(said)
		if err := d.wait(ctx, pods.changed); err != nil {
			return fmt.Errorf("%s: %w", said, err)
		}
	}
}

// node reads the Node as it is now. The name may belong to another one by now,
// whose pods are none of our business.
func (p *plugin) node(ctx context.Context, want *corev1.Node) (*corev1.Node, error) {
	node, err := p.client.CoreV1().Nodes().Get(ctx, want.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && node.UID != want.UID {
		return nil, cleanup.Permanent(fmt.Errorf("draining node %s: the node with UID %s is gone", want.Name, want.UID))
	}
	if err != nil {
		return nil, fmt.Errorf("reading node %s: %w", want.Name, err)
	}
	return node, nil
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

// drain is the state of one call of Cleanup.
type drain struct {
	*plugin
	target      cleanup.Target
	unreachable bool
	tries       map[types.UID]*try
	// due is when the next eviction is tried again, zero for none.
	due time.Time
}

// try is what came of the evictions of one pod.
type try struct {
	accepted bool
	blocked  string
	delay    time.Duration
	next     time.Time
}

// Delays between evictions of a pod that a budget blocks.
const (
	firstDelay = time.Second
	lastDelay  = 10 * time.Second
)

// advance evicts what can be evicted now, and returns the pods that are waited
// for. While there is a pod that may neither stay nor be evicted, nothing is.
func (d *drain) advance(ctx context.Context, pods []*corev1.Pod) ([]*corev1.Pod, error) {
	state := nodeState{d.unreachable, d.clock.Now()}
	var evictable, left []*corev1.Pod
	var refused []string
	lowest := own
	for _, pod := range pods {
		switch verdict := d.judge(pod, state); verdict.action {
		case leave:
			continue
		case refuse:
			refused = append(refused, fmt.Sprintf("%s: %s", nameOf(pod), verdict.reason))
			continue
		case evict:
			evictable = append(evictable, pod)
		}
		left = append(left, pod)
		lowest = min(lowest, tierOf(pod))
	}
	if len(refused) > 0 {
		slices.Sort(refused)
		return nil, fmt.Errorf("not draining node %s, some pods must not be evicted: %s", d.target.Node.Name, strings.Join(refused, "; "))
	}
	d.due = time.Time{}
	for _, pod := range evictable {
		if tierOf(pod) > lowest {
			continue
		}
		if err := d.try(ctx, pod); err != nil {
			return nil, fmt.Errorf("evicting pod %s: %w", nameOf(pod), err)
		}
		if known := d.tries[pod.UID]; !known.accepted && (d.due.IsZero() || known.next.Before(d.due)) {
			d.due = known.next
		}
	}
	return left, nil
}

// try evicts a pod unless that was accepted already or is not due yet.
func (d *drain) try(ctx context.Context, pod *corev1.Pod) error {
	known := d.tries[pod.UID]
	if known == nil {
		known = &try{delay: firstDelay}
		d.tries[pod.UID] = known
	}
	if known.accepted || d.clock.Now().Before(known.next) {
		return nil
	}
	grace := d.GracePeriodSeconds
	if d.unreachable {
		grace = ptr.To[int64](1)
	}
	err := d.evict(ctx, pod, grace, false)
	var blocked blockedError
	switch {
	case err == nil:
		known.accepted, known.blocked = true, ""
		d.target.Log.Info("pod evicted", "pod", nameOf(pod))
	case errors.As(err, &blocked):
		known.blocked = blocked.reason
		known.next = d.clock.Now().Add(max(known.delay, blocked.after))
		known.delay = min(2*known.delay, lastDelay)
	default:
		return err
	}
	return nil
}

// wait returns when a pod changed or an eviction is due again.
func (d *drain) wait(ctx context.Context, changed <-chan struct{}) error {
	next := d.due
	if d.unreachable && next.IsZero() {
		next = d.clock.Now().Add(firstDelay) // Nobody tells when a grace period has passed.
	}
	var due <-chan time.Time
	if !next.IsZero() {
		timer := d.clock.NewTimer(next.Sub(d.clock.Now()))
		defer timer.Stop()
		due = timer.C()
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-due:
	}
	return nil
}

// describe names the pods that are waited for, blocked ones first.
func (d *drain) describe(left []*corev1.Pod) string {
	const named = 3
	lines := make([]string, 0, len(left))
	for _, pod := range left {
		line := nameOf(pod)
		if known := d.tries[pod.UID]; known != nil && known.blocked != "" {
			line = "!" + line + " (" + known.blocked + ")"
		}
		lines = append(lines, line)
	}
	slices.SortFunc(lines, func(a, b string) int {
		return cmp.Or(-cmp.Compare(btoi(strings.HasPrefix(a, "!")), btoi(strings.HasPrefix(b, "!"))), cmp.Compare(a, b))
	})
	more := ""
	if len(lines) > named {
		lines, more = lines[:named], ", …"
	}
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "!")
	}
	noun := "pods"
	if len(left) == 1 {
		noun = "pod"
	}
	return fmt.Sprintf("%d %s left: %s%s", len(left), noun, strings.Join(lines, ", "), more)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Preview implements cleanup.Previewer: each pod with its verdict, and whether
// its budget would let it go, by an eviction that is a dry run.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]string, error) {
	list, err := p.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", target.Node.Name).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of node %s: %w", target.Node.Name, err)
	}
	lines := []string{"cordon"}
	if target.Node.Spec.Unschedulable {
		lines = nil
	}
	state := nodeState{unreachable(target.Node), p.clock.Now()}
	for i := range list.Items {
		pod := &list.Items[i]
		verdict := p.judge(pod, state)
		line := fmt.Sprintf("%s %s", verdict.action, nameOf(pod))
		if verdict.action == evict {
			if err := p.evict(ctx, pod, p.GracePeriodSeconds, true); err != nil {
				verdict.reason = "not now: " + err.Error()
			}
		}
		if verdict.reason != "" {
			line += " (" + verdict.reason + ")"
		}
		lines = append(lines, line)
	}
	return lines, nil
}
