package agent_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

const oneProbe = "steps:\n- {name: storage, plugin: probe, options: {do: storage}}\n"

// counted is a probe that counts its calls and finds out whether the node was cordoned.
type counted struct {
	f     *fixture
	calls chan bool
}

func (f *fixture) counted(step string) counted {
	c := counted{f, make(chan bool, 100)}
	f.probes[step] = func(_ context.Context, target cleanup.Target) error {
		current := f.read(target.Node)
		c.calls <- current != nil && current.Spec.Unschedulable
		return nil
	}
	return c
}

// want checks how often the step was called, each time on a cordoned node.
func (c counted) want(calls int) {
	c.f.Helper()
	if got := len(c.calls); got != calls {
		c.f.Errorf("the step was called %d times, want %d", got, calls)
	}
	for range len(c.calls) {
		if cordoned := <-c.calls; !cordoned {
			c.f.Error("the step ran before the node was cordoned")
		}
	}
}

func (f *fixture) request(node *corev1.Node, at string) {
	f.Helper()
	f.annotate(node, map[string]string{api.AnnotationCleanupRequestedAt: at, api.AnnotationCleanupRequestedBy: "admin"})
}

func (f *fixture) patch(node *corev1.Node, patch string) {
	f.Helper()
	if _, err := f.client.CoreV1().Nodes().Patch(f.Context(), node.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) withdraw(node *corev1.Node) {
	f.Helper()
	f.patch(node, `{"metadata":{"annotations":{"`+api.AnnotationCleanupRequestedAt+`":null}}}`)
}

const firstRequest, secondRequest = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"

func TestCleanedUpNodeIsRemovedImmediately(t *testing.T) {
	f := setUp(t, oneProbe)
	storage := f.counted("storage")
	f.start(f.options())
	node := f.protected("worker")
	f.request(node, firstRequest)
	if message := f.awaitState(node, api.Succeeded); !strings.Contains(message, "stays cordoned") {
		t.Errorf("the condition says %q", message)
	}
	storage.want(1)
	current := f.read(node)
	if !current.Spec.Unschedulable || !api.HasFinalizer(current) || current.Annotations[api.AnnotationCordonedBy] != api.Agent {
		t.Errorf("the node is %+v %+v", current.ObjectMeta, current.Spec)
	}
	if record := f.record(node); record.CleanupRequestedAt != firstRequest || record.Requester() != "admin" || record.DeletionRequestedAt != nil {
		t.Errorf("the run record says %+v", record)
	}
	f.delete(node)
	f.awaitDeleted(node)
	storage.want(0)
	if record := f.record(node); record.State != api.Succeeded || record.DeletionRequestedAt == nil {
		t.Errorf("the run record says %+v", record)
	}
}

func TestWithdrawnRequestUncordonsTheNode(t *testing.T) {
	f := setUp(t, oneProbe)
	gate := newGate()
	f.probes["storage"] = gate.pass
	f.start(f.options())
	node := f.protected("worker")
	f.request(node, firstRequest)
	<-gate.began
	f.withdraw(node)
	f.awaitState(node, api.Canceled)
	if current := f.read(node); current.Spec.Unschedulable || current.Annotations[api.AnnotationCordonedBy] != "" {
		t.Errorf("the cordon was not given back: %+v %+v", current.Annotations, current.Spec)
	}
	f.awaitEvent(node, "CleanupCanceled", "the request was withdrawn")
	f.delete(node)
	<-gate.began
	close(gate.open)
	f.awaitDeleted(node)
	if record := f.record(node); record.State != api.Succeeded || record.CleanupRequestedAt != "" {
		t.Errorf("the run record says %+v", record)
	}
}

func TestCordonOfAnotherUserIsKept(t *testing.T) {
	f := setUp(t, oneProbe)
	f.counted("storage")
	f.start(f.options())
	node := f.protected("worker")
	f.patch(node, `{"spec":{"unschedulable":true}}`)
	f.request(node, firstRequest)
	f.awaitState(node, api.Succeeded)
	f.withdraw(node)
	f.awaitState(node, api.Canceled)
	if current := f.read(node); !current.Spec.Unschedulable {
		t.Error("another user's cordon was removed")
	}
}

// An uncordoned node gets new Pods, so the earlier drain does not count when it is deleted.
func TestUncordonedNodeIsCleanedUpAgainWhenItIsDeleted(t *testing.T) {
	f := setUp(t, oneProbe)
	storage := f.counted("storage")
	stop := f.start(f.options())
	node := f.protected("worker")
	f.request(node, firstRequest)
	f.awaitState(node, api.Succeeded)
	storage.want(1)
	stop() // No agent observes the change.
	f.patch(node, `{"spec":{"unschedulable":false}}`)
	f.delete(node)
	f.start(f.options())
	f.awaitDeleted(node)
	if got := len(storage.calls); got != 1 {
		t.Errorf("the step was called %d times after the node had been uncordoned", got)
	}
}

func TestUncordonCancelsARequestedCleanup(t *testing.T) {
	f := setUp(t, oneProbe)
	storage := f.counted("storage")
	f.start(f.options())
	node := f.protected("worker")
	f.request(node, firstRequest)
	f.awaitState(node, api.Succeeded)
	f.patch(node, `{"spec":{"unschedulable":false}}`)
	f.awaitState(node, api.Canceled)
	f.request(node, secondRequest)
	f.awaitState(node, api.Succeeded)
	storage.want(2)
}

// boot has the Node's kubelet report another start of its host.
func (f *fixture) boot(node *corev1.Node, id string) {
	f.Helper()
	if _, err := f.client.CoreV1().Nodes().Patch(f.Context(), node.Name, types.MergePatchType,
		[]byte(`{"status":{"nodeInfo":{"bootID":"`+id+`"}}}`), metav1.PatchOptions{}, "status"); err != nil {
		f.Fatal(err)
	}
}

func TestHostRebootHoldsTheNodeUntilRetry(t *testing.T) {
	f := setUp(t, oneProbe)
	gate := newGate()
	f.probes["storage"] = gate.pass
	f.start(f.options())
	node := f.protected("worker")
	f.boot(node, "first")
	f.delete(node)
	<-gate.began
	f.boot(node, "second")
	close(gate.open)
	if message := f.awaitState(node, api.Blocked); !strings.Contains(message, "boot ID was first and is second") || !strings.Contains(message, "nodecleanup retry worker") {
		t.Errorf("the condition says %q", message)
	}
	f.awaitEvent(node, "HostChanged", "boot ID was first and is second")
	f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: firstRequest})
	f.awaitDeleted(node)
}

// Such as one for an eviction that was blocked: the host came back after it.
func TestEarlierRetryDoesNotCoverALaterReboot(t *testing.T) {
	f := setUp(t, oneProbe)
	gate := newGate()
	f.probes["storage"] = gate.pass
	f.start(f.options())
	node := f.protected("worker")
	f.boot(node, "first")
	f.delete(node)
	<-gate.began
	f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: firstRequest})
	f.boot(node, "second")
	close(gate.open)
	if message := f.awaitState(node, api.Blocked); !strings.Contains(message, "boot ID was first and is second") {
		t.Errorf("the condition says %q", message)
	}
	f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: secondRequest})
	f.awaitDeleted(node)
}

// The ending run has read the node in its current state, and no later update starts another
// reconcile.
func TestHostRebootBetweenAttemptsHoldsTheNode(t *testing.T) {
	f := setUp(t, "retry: {maxRetries: 100, initialDelay: 1s, maxDelay: 1s}\n"+oneProbe)
	var rebuilt atomic.Bool
	f.probes["storage"] = func(context.Context, cleanup.Target) error {
		if !rebuilt.Load() {
			return errors.New("the array is rebuilding")
		}
		return nil
	}
	f.start(f.options())
	node := f.protected("worker")
	f.boot(node, "first")
	f.delete(node)
	f.awaitState(node, api.Waiting)
	f.boot(node, "second")
	rebuilt.Store(true)
	if message := f.awaitState(node, api.Blocked); !strings.Contains(message, "boot ID was first and is second") {
		t.Errorf("the condition says %q", message)
	}
	f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: firstRequest})
	f.awaitDeleted(node)
}

// If a user cordoned the node, the agent must learn from the record that no step ran.
func TestRequestedDryRunDoesNotReplaceTheCleanup(t *testing.T) {
	f := setUp(t, "dryRun: true\n"+oneProbe)
	storage := f.counted("storage")
	stop := f.start(f.options())
	node := f.protected("worker")
	f.patch(node, `{"spec":{"unschedulable":true}}`)
	f.request(node, firstRequest)
	if message := f.awaitState(node, api.Succeeded); message != "dry run on request: nothing was changed. A deletion starts from the first step" {
		t.Errorf("the condition says %q", message)
	}
	storage.want(0)
	stop()
	f.configure(oneProbe)
	f.start(f.options())
	f.delete(node)
	f.awaitDeleted(node)
	storage.want(1)
}

func TestQueuedRequestCanBeWithdrawn(t *testing.T) {
	f := setUp(t, "concurrency: {nodes: 1}\nsteps:\n- {name: storage, plugin: probe}\n")
	gate := newGate()
	f.probes[""] = gate.pass
	f.start(f.options())
	first, second := f.protected("first"), f.protected("second")
	f.request(first, firstRequest)
	<-gate.began
	gate.open <- struct{}{}
	f.awaitState(first, api.Succeeded)
	f.delete(second)
	<-gate.began
	f.withdraw(first)
	f.awaitState(first, api.Canceled)
	close(gate.open)
	f.awaitDeleted(second)
}
