// Package controller reconciles Nodes. It adds the finalizer to Nodes that lack it, runs the plan of a
// terminating Node, and removes the finalizer after the cleanup or a bypass. The CLI removes it only if
// no agent is the leader, and during an uninstall.
package controller

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/pruner"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runstore"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/secrets"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/serverclock"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodepatch"
)

// Metrics counts what the controller does.
type Metrics interface {
	// NodeUnprotected counts a Node that was deleted without our finalizer.
	NodeUnprotected()
	// FinalizerAdded counts a Node that was created without our finalizer.
	FinalizerAdded()
}

// Deletions looks up who deleted a Node.
type Deletions interface {
	// Of returns the recorded deletion of a terminating Node; found is false if none was recorded.
	Of(ctx context.Context, node metav1.Object) (deletion api.Deletion, found bool, err error)
}

// Brake reports whether cleanups may begin. Cleanups that have begun continue.
type Brake interface {
	// Reason returns why no cleanup may begin now, "" if cleanups may begin.
	Reason() string
	// OpenFor returns for how long cleanups have been allowed to begin.
	OpenFor() time.Duration
}

// Notifications tell people about Nodes. Its methods do not block.
type Notifications interface {
	// Unprotected says that a Node was deleted without its cleanup.
	Unprotected(node metav1.Object, message string)
}

// Options are the controller's dependencies. All are required.
type Options struct {
	Client kubernetes.Interface
	// Metadata serves the one watch of all Nodes.
	Metadata metadata.Interface
	// Nodes patches Nodes.
	Nodes nodepatch.Client
	// Config returns the active config.
	Config   func() *config.Config
	Executor *executor.Executor
	// Previewer is the executor for dry runs.
	Previewer *executor.Executor
	Records   *runstore.Store
	Pruner    *pruner.Pruner
	Reporter  *report.Reporter
	Deletions Deletions
	Brake     Brake
	// NamesEnforced reports whether the API server accepts no request in the name of another user.
	NamesEnforced func(ctx context.Context) (bool, error)
	// Secrets records when each Secret was last written.
	Secrets *secrets.Writes
	Metrics Metrics
	// Notifications get what no run record says.
	Notifications Notifications
	// Fence returns an error when this agent may no longer act as the leader.
	Fence func() error
	Clock serverclock.Interface
	Log   *slog.Logger
}

// Controller reconciles Nodes while this agent is the leader.
type Controller struct {
	options Options
	current atomic.Pointer[reconciler]
}

// New returns a controller that is not running yet.
func New(options Options) *Controller { return &Controller{options: options} }

// Run reconciles until ctx ends, and returns when no run is in progress. It returns an error if it
// cannot list the Nodes. Run can be called for each leadership; it keeps no state in between.
func (c *Controller) Run(ctx context.Context) error {
	r := newReconciler(c.options)
	c.current.Store(r)
	defer c.current.Store(nil)
	return r.run(ctx)
}

// ReconcileAll reconciles every Node.
func (c *Controller) ReconcileAll() {
	if r := c.current.Load(); r != nil {
		for _, name := range r.nodes.Names() {
			r.queue.Add(name)
		}
	}
}

// Nodes returns all Nodes. known is false before the first list, and while this agent is not the
// leader.
func (c *Controller) Nodes() (nodes []*nodecache.Node, known bool) {
	if r := c.current.Load(); r != nil && r.nodes.Synced() {
		return r.nodes.List(), true
	}
	return nil, false
}

// SecretWritten retries the cleanups that make no progress and have a step that uses the written
// Secret.
func (c *Controller) SecretWritten(name string) {
	if r := c.current.Load(); r != nil {
		r.secretWritten(name)
	}
}

// Stats returns numbers for metrics. They are zero while this agent is not the leader.
func (c *Controller) Stats() metrics.Cleanups {
	if r := c.current.Load(); r != nil {
		return r.stats()
	}
	return metrics.Cleanups{}
}
