// Package report publishes the progress of cleanups: the condition of the Node, Events, and
// metrics of steps. Package nodeevent decides what an Event says. Package api decides which
// condition follows from a record.
package report

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodepatch"
)

// Metrics counts steps.
type Metrics interface {
	// StepChanged has the contract of executor.Observer.
	StepChanged(step *api.StepRun, took time.Duration)
}

// Reporter publishes conditions through one Node client and Events through one EventRecorder.
type Reporter struct {
	nodes   nodepatch.Client
	events  record.EventRecorder
	metrics Metrics
	clock   clock.WithDelayedExecution
}

// New returns a Reporter.
func New(nodes nodepatch.Client, events record.EventRecorder, metrics Metrics, clock clock.WithDelayedExecution) *Reporter {
	return &Reporter{nodes: nodes, events: events, metrics: metrics, clock: clock}
}

// Node publishes the progress of one Node's cleanup. Its methods may be called from
// several goroutines.
type Node struct {
	*Reporter
	// node has the name and the UID.
	node metav1.ObjectMeta

	mutex sync.Mutex
	// conditions are the conditions that the Node is known to have.
	conditions api.KnownConditions
	// buffer is nil when nothing is delayed.
	buffer *buffer
	// invalid: the Event that every update is rejected was published.
	invalid bool
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
	return &Node{Reporter: r, node: metav1.ObjectMeta{Name: node.GetName(), UID: node.GetUID()}, conditions: api.KnownConditions{}}
}

// Run writes the conditions that follow from a run record, if they differ from the
// Node's. A Node that is deleted, or whose name belongs to another UID, is not an error.
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
// UID, and by the name instead of the UID.
func (n *Node) reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: n.node.Name, UID: n.node.UID}
}

// Publish records an Event. A routine one may be buffered; any other follows the buffered
// ones: Events keep the order in which things happened.
func (n *Node) Publish(e nodeevent.Event) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.buffer != nil {
		n.buffer.events = append(n.buffer.events, e)
		if !e.Routine {
			n.flushEvents()
		}
		return
	}
	n.record(e)
}

func (n *Node) record(e nodeevent.Event) { n.events.Event(n.reference(), e.Type, e.Reason, e.Message) }

// StepChanged implements executor.Observer.
func (n *Node) StepChanged(step *api.StepRun, took time.Duration) {
	n.Publish(nodeevent.Step(step, took))
	n.metrics.StepChanged(step, took)
}

// checkValid publishes that the API server rejects every update of the Node, if it does: the
// conditions cannot say so.
func (n *Node) checkValid(ctx context.Context) error {
	err := n.nodes.Check(ctx, &n.node)
	if invalid := (nodepatch.InvalidError{}); errors.As(err, &invalid) {
		n.invalid = true
		n.record(nodeevent.NodeInvalid(n.node.Name, invalid))
		return nil
	}
	return err
}

// write patches the conditions that changed, all in one request.
func (n *Node) write(ctx context.Context, wanted []corev1.NodeCondition) error {
	changes := n.conditions.Changes(wanted)
	if changes == nil {
		return nil
	}
	written, err := n.nodes.SetConditions(ctx, &n.node, changes)
	if apierrors.IsInvalid(err) && nodepatch.NamesField(err) && !n.invalid {
		err = errors.Join(err, n.checkValid(ctx))
	}
	if err != nil || !written {
		return err
	}
	for _, condition := range changes {
		n.conditions[condition.Type] = condition
	}
	return nil
}
