// Package report publishes the progress of cleanups: the condition of the Node, Events, and
// metrics of steps. Which Event and which condition follow from which state is decided by
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

// Metrics counts steps.
type Metrics interface {
	// StepDone counts one attempt; result is "success", "error" or "skipped".
	StepDone(plugin, result string, took time.Duration)
	// Retried counts an attempt of a step after its first.
	Retried(plugin string)
}

// Reporter publishes through one client and one Event recorder.
type Reporter struct {
	nodes   corev1client.NodeInterface
	events  record.EventRecorder
	metrics Metrics
	clock   clock.WithDelayedExecution
}

// New returns a Reporter.
func New(nodes corev1client.NodesGetter, events record.EventRecorder, metrics Metrics, clock clock.WithDelayedExecution) *Reporter {
	return &Reporter{nodes: nodes.Nodes(), events: events, metrics: metrics, clock: clock}
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

// Publish records an Event. A routine one may be buffered; any other follows the buffered
// ones: Events keep the order in which things happened.
func (n *Node) Publish(e Event) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.buffer != nil && e.routine {
		n.buffer.events = append(n.buffer.events, e)
		return
	}
	n.flushEvents()
	n.record(e)
}

func (n *Node) record(e Event) { n.events.Event(n.reference(), e.kind, e.reason, e.message) }

// StepStarted implements executor.Observer.
func (n *Node) StepStarted(step *api.StepRun) {
	n.Publish(stepStarted(step))
	if step.Attempts > 1 {
		n.metrics.Retried(step.Plugin)
	}
}

// StepSucceeded implements executor.Observer.
func (n *Node) StepSucceeded(step *api.StepRun, took time.Duration) {
	n.Publish(stepSucceeded(step, took))
	n.metrics.StepDone(step.Plugin, "success", took)
}

// StepFailed implements executor.Observer.
func (n *Node) StepFailed(step *api.StepRun, took time.Duration) {
	n.Publish(stepFailed(step))
	n.metrics.StepDone(step.Plugin, "error", took)
}

// StepSkipped implements executor.Observer.
func (n *Node) StepSkipped(step *api.StepRun) {
	n.Publish(stepSkipped(step))
	n.metrics.StepDone(step.Plugin, "skipped", 0)
}
