package runrecord

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

// Reporter tells people how cleanups go: by the Node condition and by Events.
type Reporter struct {
	nodes  corev1client.NodeInterface
	events record.EventRecorder
	clock  clock.WithDelayedExecution
}

// NewReporter returns a reporter that writes through a client and a recorder.
func NewReporter(nodes corev1client.NodesGetter, events record.EventRecorder, clock clock.WithDelayedExecution) *Reporter {
	return &Reporter{nodes: nodes.Nodes(), events: events, clock: clock}
}

// Node returns the reporter for one Node, which knows what its conditions say.
func (r *Reporter) Node(node *corev1.Node) *NodeReporter {
	about := r.About(node)
	for _, condition := range node.Status.Conditions {
		about.conditions[condition.Type] = condition
	}
	return about
}

// About returns the reporter for a Node of which no more than the metadata is known.
func (r *Reporter) About(node metav1.Object) *NodeReporter {
	return &NodeReporter{Reporter: r, name: node.GetName(), uid: node.GetUID(), conditions: conditions{}}
}

// NodeReporter tells how the cleanup of one Node goes.
type NodeReporter struct {
	*Reporter
	name string
	uid  types.UID

	mutex sync.Mutex
	// conditions are what the Node is known to say.
	conditions conditions
	// held is what a run that has only just begun keeps to itself, nil when
	// nothing is held back.
	held *held
}

// Run sets the Node's conditions to what a run says, where they say something else. A Node
// that is gone, or another of the same name, is no error.
func (r *NodeReporter) Run(ctx context.Context, run *api.Run) error {
	now := metav1.NewTime(r.clock.Now())
	said := append(api.DrainConditions(run, now), api.CleanupCondition(run.State, run.Message, now))
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.held != nil {
		if run.State == api.Running || run.State == api.Preflight {
			r.held.conditions = said
			return nil
		}
		r.held.conditions = nil // What is said now is newer.
	}
	return errors.Join(r.speak(ctx), r.write(ctx, said))
}

// State sets the Node's cleanup condition as Run does, where there is no more to say.
func (r *NodeReporter) State(ctx context.Context, state api.State, message string) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.held != nil {
		r.held.conditions = nil // What is said now is newer.
	}
	said := api.CleanupCondition(state, message, metav1.NewTime(r.clock.Now()))
	return errors.Join(r.speak(ctx), r.write(ctx, []corev1.NodeCondition{said}))
}

// reference is how Events name a Node, so that kubectl describe node finds them:
// it searches for the UID and for the name in the place of the UID.
func (r *NodeReporter) reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: r.name, UID: r.uid}
}

func (r *NodeReporter) emit(e event) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.tellHeld() // So that Events come in the order in which things happened.
	r.tell(e)
}

func (r *NodeReporter) tell(e event) {
	r.events.Event(r.reference(), e.kind, e.reason, e.message)
}

// CleanupStarted tells that a run began.
func (r *NodeReporter) CleanupStarted(run *api.Run) { r.emitQuietly(cleanupStarted(run)) }

// CleanupWaiting tells what the run waits for.
func (r *NodeReporter) CleanupWaiting(message string) { r.emit(cleanupWaiting(message)) }

// CleanupReady tells that a Node that is not deleted was cleaned up on request.
func (r *NodeReporter) CleanupReady(run *api.Run) { r.emit(cleanupReady(run)) }

// CleanupCanceled tells that the cleanup of a Node that is not deleted was given up.
func (r *NodeReporter) CleanupCanceled(message string) { r.emit(cleanupCanceled(message)) }

// HostChanged tells that another host, or the same one after a restart, took the
// place of the one that is cleaned up.
func (r *NodeReporter) HostChanged(message string) { r.emit(hostChanged(message)) }

// CleanupCompleted tells that the Node is released after its cleanup.
func (r *NodeReporter) CleanupCompleted(run *api.Run) { r.emit(cleanupCompleted(run)) }

// CleanupFailed tells that the Node is kept because a critical step failed.
func (r *NodeReporter) CleanupFailed(message string) { r.emit(cleanupFailed(r.name, message)) }

// CleanupBypassed tells that the Node is released without its cleanup.
func (r *NodeReporter) CleanupBypassed(reason string) { r.emit(cleanupBypassed(reason)) }

// CleanupDeadline tells that the cleanup took longer than config allows.
func (r *NodeReporter) CleanupDeadline(deadline time.Duration, released bool) {
	r.emit(cleanupDeadline(deadline, released))
}

// NodeUnprotected tells that the Node was deleted without our finalizer.
func (r *NodeReporter) NodeUnprotected() { r.emit(nodeUnprotected()) }

// FinalizerLost tells that somebody else took our finalizer off too early.
func (r *NodeReporter) FinalizerLost() { r.emit(finalizerLost()) }

// NodeInvalid tells that the API server refuses every update of the Node.
func (r *NodeReporter) NodeInvalid(err error) { r.emit(nodeInvalid(err)) }

// StepStarted tells that an attempt began.
func (r *NodeReporter) StepStarted(step *api.StepRun) { r.emitQuietly(stepStarted(step)) }

// StepSucceeded tells that a step is done.
func (r *NodeReporter) StepSucceeded(step *api.StepRun, took time.Duration) {
	r.emitQuietly(stepSucceeded(step, took))
}

// StepFailed tells that an attempt failed, and what follows.
func (r *NodeReporter) StepFailed(step *api.StepRun, _ time.Duration) { r.emit(stepFailed(step)) }

// StepSkipped tells that a step does not apply, and why.
func (r *NodeReporter) StepSkipped(step *api.StepRun) { r.emitQuietly(stepSkipped(step)) }
