package agent_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// holds is a plugin that reports its start, and ends when the test allows it.
type holds struct{ runs, ends chan struct{} }

func (h holds) Cleanup(ctx context.Context, _ cleanup.Target) error {
	h.runs <- struct{}{}
	select {
	case <-h.ends:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const uncordon = `{"spec":{"unschedulable":null},"metadata":{"annotations":{"nodecleanup.io/cordoned-by":null}}}`

// awaitEviction waits until the agent evicts a Pod, and checks that its Node is still there and
// cordoned then.
func (f *fixture) awaitEviction(pod *corev1.Pod, node *corev1.Node) {
	f.Helper()
	f.eventually("the pod is evicted", func(ctx context.Context) (bool, error) {
		current, err := f.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && current.DeletionTimestamp != nil, err
	})
	if current := f.read(node); !current.Spec.Unschedulable || !api.HasFinalizer(current) {
		f.Errorf("the node is %+v %+v", current.ObjectMeta, current.Spec)
	}
}

func TestNodeUncordonedAfterItsDrainIsDrainedAgain(t *testing.T) {
	f := setUp(t, "steps:\n- {name: drain, plugin: drain, retry: {initialDelay: 100ms}}\n- {name: holds, plugin: holds, dependsOn: [drain]}\n")
	plugin := holds{make(chan struct{}), make(chan struct{})}
	f.start(f.with("holds", plugin))
	node := f.protected("worker")
	f.delete(node)
	<-plugin.runs // The drain is done.
	f.patch(node, uncordon)
	pod := f.pod("cart", node)
	close(plugin.ends)
	f.awaitEviction(pod, node)
	f.kill(pod)
	f.awaitDeleted(node)
	if step := f.record(node).Step("drain"); step.Attempts != 2 || !strings.Contains(step.Reason, "no longer done: the node is not cordoned") {
		t.Errorf("the record says %+v", step)
	}
}

// The first drain ended long before forceAfter: the Pods that came since have all of it, too.
func TestRepeatedDrainRespectsBudgetsEquallyLong(t *testing.T) {
	f := setUp(t, "steps:\n- {name: drain, plugin: drain, retry: {initialDelay: 100ms}, options: {allowUnmanaged: true, forceAfter: 1h}}\n")
	stop := f.start(f.options())
	node := f.protected("worker")
	f.request(node, firstRequest)
	f.awaitState(node, api.Succeeded)
	stop()
	run := f.record(node)
	run.Steps[0].StartedAt = &metav1.Time{Time: run.Steps[0].StartedAt.Add(-2 * time.Hour)}
	f.store(run)
	f.blockedPods(node, 1)
	f.start(f.options())
	f.delete(node)
	f.eventually("the budget blocks the pod", func(context.Context) (bool, error) {
		return strings.Contains(f.record(node).Step("drain").Progress, "The disruption budget blocks"), nil
	})
	if progress := f.record(node).Step("drain").Progress; strings.Contains(progress, "forceAfter has passed") {
		t.Errorf("the drain did not respect the budget: %s", progress)
	}
}

func TestEarlierCleanupIsVerifiedAtTheDeletion(t *testing.T) {
	f := setUp(t, "steps:\n- {name: drain, plugin: drain, retry: {initialDelay: 100ms}}\n")
	stop := f.start(f.options())
	node := f.protected("worker")
	f.request(node, firstRequest)
	f.awaitState(node, api.Succeeded)
	stop()
	f.patch(node, uncordon)
	pod := f.pod("cart", node)
	f.patch(node, `{"spec":{"unschedulable":true}}`)
	f.start(f.options())
	f.delete(node)
	f.awaitEviction(pod, node)
	f.kill(pod)
	f.awaitDeleted(node)
	if step := f.record(node).Step("drain"); step.Attempts != 2 || !strings.Contains(step.Reason, "pod default/cart is on the node") {
		t.Errorf("the record says %+v", step)
	}
}

func TestUncordonDuringDrainIsReverted(t *testing.T) {
	f := setUp(t, "steps:\n- {name: drain, plugin: drain, options: {allowUnmanaged: true}}\n")
	node := f.protected("worker")
	blocked := f.blockedPods(node, 1)[0]
	f.start(f.options())
	f.delete(node)
	cordoned := func(context.Context) (bool, error) { return f.read(node).Spec.Unschedulable, nil }
	f.eventually("the node is cordoned", cordoned)
	for range 2 {
		f.patch(node, uncordon)
		f.eventually("the node is cordoned again", cordoned)
	}
	f.eventually("the record tells", func(context.Context) (bool, error) {
		return strings.Contains(f.record(node).Step("drain").Progress, "the node was uncordoned and cordoned again (2 of at most 5 times)"), nil
	})
	f.openBudget()
	f.awaitEviction(blocked, node)
	f.removePod(blocked)
	f.awaitDeleted(node)
}
