// Package report publishes the progress of cleanups: the condition of the Node and
// Events. Which Event and which condition follow from which state is decided by
// pure functions (events.go, and package api for conditions).
package report

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Reporter publishes through one client and one Event recorder.
type Reporter struct {
	nodes  corev1client.NodeInterface
	events record.EventRecorder
	clock  clock.WithDelayedExecution
}

// New returns a Reporter.
func New(nodes corev1client.NodesGetter, events record.EventRecorder, clock clock.WithDelayedExecution) *Reporter {
	return &Reporter{nodes: nodes.Nodes(), events: events, clock: clock}
}

// Node publishes the progress of one Node's cleanup. Its methods may be called from
// several goroutines.
type Node struct {
	*Reporter
	name string
	uid  types.UID

	mutex sync.Mutex
	// conditions are the conditions that the Node is known to have.
	conditions conditions
	// buffer is nil when nothing is delayed.
	buffer *buffer
}

// ForNode returns the publisher for a Node whose current conditions are known.
func (r *Reporter) ForNode(node *corev1.Node) *Node {
	n := r.ForMetadata(node)
	for _, condition := range node.Status.Conditions {
		n.conditions[condition.Type] = condition
	}
	return n
}

// ForMetadata returns the publisher for a Node of which only the metadata is known.
func (r *Reporter) ForMetadata(node metav1.Object) *Node {
	return &Node{Reporter: r, name: node.GetName(), uid: node.GetUID(), conditions: conditions{}}
}

// Run writes the conditions that follow from a run record, if they differ from the
// Node's. A Node that is deleted, or whose name belongs to another UID, is no error.
func (n *Node) Run(ctx context.Context, run *api.Run) error {
	now := metav1.NewTime(n.clock.Now())
	wanted := append(api.DrainConditions(run, now), api.CleanupCondition(run.State, run.Message, now))
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.buffer != nil {
		if run.State == api.Running || run.State == api.Preflight {
			n.buffer.conditions = wanted
			return nil
		}
		n.buffer.conditions = nil // The state below is newer.
	}
	return errors.Join(n.flush(ctx), n.write(ctx, wanted))
}

// State writes the cleanup condition alone, for a Node whose run record is not known.
// Otherwise it works like Run.
func (n *Node) State(ctx context.Context, state api.State, message string) error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.buffer != nil {
		n.buffer.conditions = nil // The state below is newer.
	}
	wanted := api.CleanupCondition(state, message, metav1.NewTime(n.clock.Now()))
	return errors.Join(n.flush(ctx), n.write(ctx, []corev1.NodeCondition{wanted}))
}

// reference identifies the Node the way `kubectl describe node` looks for Events: by
// UID, and by the name in the place of the UID.
func (n *Node) reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: n.name, UID: n.uid}
}

// publish records an Event at once, after those that are buffered: Events keep the order
// in which things happened.
func (n *Node) publish(e event) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.flushEvents()
	n.record(e)
}

// delay records an Event about normal progress, or buffers it.
func (n *Node) delay(e event) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.buffer != nil {
		n.buffer.events = append(n.buffer.events, e)
		return
	}
	n.record(e)
}

func (n *Node) record(e event) { n.events.Event(n.reference(), e.kind, e.reason, e.message) }

// CleanupStarted records that a run began.
func (n *Node) CleanupStarted(run *api.Run) { n.delay(cleanupStarted(run)) }

// CleanupWaiting records what the cleanup waits for.
func (n *Node) CleanupWaiting(message string) { n.publish(cleanupWaiting(message)) }

// CleanupReady records the end of a cleanup of a Node that is not deleted.
func (n *Node) CleanupReady(run *api.Run) { n.publish(cleanupReady(run)) }

// CleanupCanceled records that the cleanup of a Node that is not deleted was canceled.
func (n *Node) CleanupCanceled(reason string) { n.publish(cleanupCanceled(reason)) }

// HostChanged records that the host rebooted or was replaced during its cleanup.
func (n *Node) HostChanged(message string) { n.publish(hostChanged(message)) }

// CleanupCompleted records that the Node is released after its cleanup.
func (n *Node) CleanupCompleted(run *api.Run) { n.publish(cleanupCompleted(run)) }

// CleanupFailed records that the Node stays because a critical step failed.
func (n *Node) CleanupFailed(message string) { n.publish(cleanupFailed(n.name, message)) }

// CleanupBypassed records that the Node is released without its cleanup.
func (n *Node) CleanupBypassed(reason string) { n.publish(cleanupBypassed(reason)) }

// CleanupDeadline records that the cleanup exceeded the configured deadline.
func (n *Node) CleanupDeadline(deadline time.Duration, released bool) {
	n.publish(cleanupDeadline(deadline, released))
}

// NodeUnprotected records that the Node was deleted without our finalizer.
func (n *Node) NodeUnprotected() { n.publish(nodeUnprotected()) }

// FinalizerLost records that somebody else removed our finalizer too early.
func (n *Node) FinalizerLost() { n.publish(finalizerLost()) }

// NodeInvalid records that the API server rejects every update of the Node.
func (n *Node) NodeInvalid(err error) { n.publish(nodeInvalid(err)) }

// StepStarted records the begin of an attempt.
func (n *Node) StepStarted(step *api.StepRun) { n.delay(stepStarted(step)) }

// StepSucceeded records the end of a step.
func (n *Node) StepSucceeded(step *api.StepRun, took time.Duration) {
	n.delay(stepSucceeded(step, took))
}

// StepFailed records a failed attempt and what follows from it.
func (n *Node) StepFailed(step *api.StepRun, _ time.Duration) { n.publish(stepFailed(step)) }

// StepSkipped records that a step does not apply, and why.
func (n *Node) StepSkipped(step *api.StepRun) { n.delay(stepSkipped(step)) }
