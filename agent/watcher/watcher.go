// Package watcher sees Nodes come and go. It is the only writer of our
// finalizer after admission: it adds the finalizer to Nodes that lack it, has
// the plan of a terminating Node run, and takes the finalizer off when nothing
// holds the Node any longer.
package watcher

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Metrics counts what the watcher does.
type Metrics interface {
	// StepDone is called for each attempt; result is "success", "error" or "skipped".
	StepDone(plugin, result string, took time.Duration)
	// NodeUnprotected is called for a Node that was deleted without our finalizer.
	NodeUnprotected()
	// FinalizerAdded is called for a Node that admission had not protected.
	FinalizerAdded()
	// Retried is called for each attempt of a step after its first.
	Retried(plugin string)
}

// Deletions says who deleted a Node.
type Deletions interface {
	// Of returns the recorded deletion of a terminating Node; found is false if none was recorded.
	Of(ctx context.Context, node metav1.Object) (deletion api.Deletion, found bool, err error)
}

// Options are what a watcher works with. All are required.
type Options struct {
	Client kubernetes.Interface
	// Metadata is for the one watch of every Node.
	Metadata metadata.Interface
	// Config returns the config in force.
	Config   func() *config.Config
	Executor *executor.Executor
	// Previewer is the executor for dry runs.
	Previewer *executor.Executor
	Records   *runrecord.Store
	Reporter  *runrecord.Reporter
	Deletions Deletions
	Metrics   Metrics
	// Fence returns an error once this agent may no longer act as the leader.
	Fence func() error
	Clock Clock
	Log   *slog.Logger
}

// Clock tells the time of the API servers, see serverclock.
type Clock interface {
	clock.WithTickerAndDelayedExecution
	// Elapsed returns a function that tells how long ago a time was that an API server
	// set, at least.
	Elapsed(since time.Time) func() time.Duration
}

// Watcher reconciles Nodes while this agent leads.
type Watcher struct {
	options Options
	current atomic.Pointer[term]
	// written holds when each Secret was written that was there when a term began.
	written sync.Map // string → time.Time
}

// New returns a watcher that does nothing yet.
func New(options Options) *Watcher { return &Watcher{options: options} }

// Run works until ctx ends, and returns when nothing of it is at work any more.
// It returns an error when it cannot begin, and runrecord.ErrTakenOver where another leader has
// begun before ctx ended. It may be called again, for each term
// in which this agent leads, and begins from what the API server knows then.
func (w *Watcher) Run(ctx context.Context) error {
	t := newTerm(w.options, &w.written)
	w.current.Store(t)
	defer w.current.Store(nil)
	return t.run(ctx)
}

// Reconsider looks at every Node again: the config changed.
func (w *Watcher) Reconsider() {
	if t := w.current.Load(); t != nil {
		for _, name := range t.nodes.GetStore().ListKeys() {
			t.queue.Add(name)
		}
	}
}

// SecretChanged gives the cleanups that are blocked, that failed or that wait for
// another try a new start, where a step of theirs uses the Secret.
func (w *Watcher) SecretChanged(name string) {
	if t := w.current.Load(); t != nil {
		t.secretChanged(name)
	}
}

// SecretWritten gives the cleanups that failed before a Secret was written that a step of
// theirs uses a new start: nobody may have led when that happened.
func (w *Watcher) SecretWritten(name string, at time.Time) {
	w.written.Store(name, at)
	if t := w.current.Load(); t != nil {
		t.secretWritten(name)
	}
}

// Standing is what the leader sees of the Nodes and their cleanups.
type Standing struct {
	// WithFinalizer counts Nodes that have our finalizer, Unprotected those
	// that config selects and that lack it and are not being deleted.
	WithFinalizer, Unprotected int
	// Active counts the plans that are being run now.
	Active int
	// Queued counts Nodes that wait to be looked at.
	Queued int
	// Unfinished counts cleanups that are not done, by state.
	Unfinished map[api.State]int
	// Oldest is when the oldest of them began, zero when there is none.
	Oldest time.Time
}

// Standing returns how things are; zero while this agent does not lead.
func (w *Watcher) Standing() Standing {
	if t := w.current.Load(); t != nil {
		return t.stand()
	}
	return Standing{}
}
