package agent_test

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// late returns the Events that say of a Node that its deadline has passed.
func (f *fixture) late(node *corev1.Node) int {
	f.Helper()
	events, err := f.client.CoreV1().Events(metav1.NamespaceDefault).List(f.Context(), metav1.ListOptions{FieldSelector: "reason=CleanupDeadlineExceeded,involvedObject.uid=" + string(node.UID)})
	if err != nil {
		f.Fatal(err)
	}
	count := 0
	for _, event := range events.Items {
		count += max(1, int(event.Count))
	}
	return count
}

func TestNodeIsHeldAndReportedOnceAfterTheDeadline(t *testing.T) {
	f := setUp(t, "deadline: {after: 2s}\nretry: {maxRetries: 0}\nsteps:\n- {name: fails, plugin: probe}\n")
	f.probes[""] = func(context.Context, cleanup.Target) error { return errors.New("the array is rebuilding") }
	stop := f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	f.awaitEvent(node, "CleanupDeadlineExceeded", "deadline of 2s: it continues")
	f.eventually("the run record says so", func(context.Context) (bool, error) { return f.record(node).DeadlinePassed, nil })
	// Neither a retry nor a restarted agent reports it again.
	stop()
	f.start(f.options())
	f.patch(node, `{"metadata":{"annotations":{"`+api.AnnotationRetryRequestedAt+`":"again"}}}`)
	f.eventually("it is tried again", func(context.Context) (bool, error) {
		run := f.record(node)
		return run.RetryRequestedAt == "again" && run.State == api.Failed, nil
	})
	if run := f.record(node); !run.DeadlinePassed || !api.HasFinalizer(f.read(node)) {
		t.Errorf("the node is not held: %+v", run)
	}
	if count := f.late(node); count != 1 {
		t.Errorf("it was said %d times", count)
	}
}

func TestPassedDeadlineIsReportedWhileRunningOrQueued(t *testing.T) {
	f := setUp(t, "deadline: {after: 2s}\nconcurrency: {nodes: 1}\nsteps:\n- {name: works, plugin: probe}\n")
	done := make(chan struct{})
	f.probes[""] = func(ctx context.Context, _ cleanup.Target) error {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.start(f.options())
	first, second := f.protected("first"), f.protected("second")
	f.delete(first)
	f.awaitState(first, api.Running)
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	f.delete(second)
	f.awaitEvent(first, "CleanupDeadlineExceeded", "it continues, and the node is not released before it is done")
	f.awaitEvent(second, "CleanupDeadlineExceeded", "it continues")
	if message := f.awaitState(second, api.Pending); message != "waiting for a slot: at most 1 cleanup at the same time (concurrency.nodes), and the deadline has passed" {
		t.Errorf("the condition says %q", message)
	}
	// One that is late after it: until then the condition of the second has had time to be
	// written again and again.
	third := f.protected("third")
	f.delete(third)
	f.awaitEvent(third, "CleanupDeadlineExceeded", "it continues")
	requests, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	user, _ := f.user()
	writes := 0
	for _, request := range requests {
		if request.User == user && request.Verb == "patch" && request.Resource == "nodes" && request.Subresource == "status" && request.Name == second.Name {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("the condition of a node that waits was written %d times, want 1", writes)
	}
	close(done)
	for _, node := range []*corev1.Node{first, second, third} {
		f.awaitDeleted(node)
		if count := f.late(node); count != 1 || !f.record(node).DeadlinePassed {
			t.Errorf("of node %s it was said %d times, the record says %v", node.Name, count, f.record(node).DeadlinePassed)
		}
	}
}

func TestReleasingDeadlineReleasesTheNode(t *testing.T) {
	f := setUp(t, "deadline: {after: 2s, action: Release}\nconcurrency: {nodes: 1}\nsteps:\n- {name: works, plugin: probe}\n")
	began, cancelled := make(chan struct{}, 2), make(chan struct{}, 2)
	f.probes[""] = func(ctx context.Context, _ cleanup.Target) error {
		began <- struct{}{}
		<-ctx.Done()
		cancelled <- struct{}{}
		return ctx.Err()
	}
	f.start(f.options())
	runs, waits := f.protected("runs"), f.protected("waits")
	f.delete(runs)
	<-began // The condition follows a second later, and the deletion time is in whole seconds.
	f.delete(waits)
	for _, node := range []*corev1.Node{runs, waits} {
		f.awaitDeleted(node)
		run := f.record(node)
		if run.State != api.Bypassed || run.BypassReason != "deadline of 2s exceeded (deadline.action: Release)" || !run.DeadlinePassed {
			t.Errorf("the record of %s says %s, %q", node.Name, run.State, run.BypassReason)
		}
		f.awaitEvent(node, "CleanupDeadlineExceeded", "because deadline.action is Release")
	}
	<-cancelled // The step that ran was cancelled.
}

func TestDeadlineAddedDuringAStepEndsIt(t *testing.T) {
	const steps = "steps:\n- {name: works, plugin: probe}\n"
	f := setUp(t, steps)
	cancelled := make(chan struct{}, 1)
	f.probes[""] = func(ctx context.Context, _ cleanup.Target) error {
		<-ctx.Done()
		cancelled <- struct{}{}
		return ctx.Err()
	}
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	f.awaitState(node, api.Running)
	f.configure("deadline: {after: 1s, action: Release}\n" + steps)
	f.awaitDeleted(node)
	<-cancelled
	if run := f.record(node); run.State != api.Bypassed || run.BypassReason != "deadline of 1s exceeded (deadline.action: Release)" {
		t.Errorf("the record says %s, %q", run.State, run.BypassReason)
	}
}
