package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/workqueue"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodepatch"
)

// reconciler is the controller during one leadership.
type reconciler struct {
	Options
	nodes  *nodecache.Cache
	queue  workqueue.TypedRateLimitingInterface[string]
	states *states
}

// Delays between failed reconciles of one Node, and between runs that were interrupted by an error.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = time.Minute
)

// workers is the number of concurrent reconciles. A reconcile is a few API calls; runs
// have goroutines of their own and occupy no worker.
const workers = 32

// invalidRetry is the delay before the agent retries a Node whose updates fail validation. A user must
// fix the Node.
const invalidRetry = 5 * time.Minute

func newReconciler(options Options) *reconciler {
	return &reconciler{
		Options: options,
		nodes:   nodecache.New(options.Metadata),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "nodes"}),
		states: newStates(),
	}
}

func (r *reconciler) run(ctx context.Context) error {
	var group sync.WaitGroup
	defer r.states.runs.Wait()
	defer group.Wait() // Before the runs: a worker may just have started one.
	defer r.queue.ShutDown()
	if err := r.nodes.Handle(r); err != nil {
		return err
	}
	group.Go(func() { r.nodes.Run(ctx) })
	if err := r.nodes.AwaitSync(ctx); err != nil {
		return err
	}
	r.Log.Info("watching nodes", "nodes", len(r.nodes.Names()))
	group.Go(func() { r.Pruner.Run(ctx, r.nodes.UIDs, r.recordFound) })
	for range workers {
		group.Go(func() {
			for r.processNext(ctx) {
			}
		})
	}
	<-ctx.Done()
	return nil
}

// NodeAdded queues a Node, and starts to measure how long it has been terminating.
func (r *reconciler) NodeAdded(node *nodecache.Node) {
	if node.DeletionTimestamp != nil {
		r.track(node, func(s *nodeState) {
			if s.sinceDeletion == nil {
				s.sinceDeletion = r.Clock.Elapsed(node.DeletionTimestamp.Time)
			}
		})
	}
	r.queue.Add(node.Name)
}

// NodeUpdated queues a Node that changed.
func (r *reconciler) NodeUpdated(before, node *nodecache.Node) {
	request := api.CleanupRequestOf(before)
	switch {
	case before.UID != node.UID:
		r.NodeDeleted(before)
	case request.At != "" && request != api.CleanupRequestOf(node):
		r.track(node, func(s *nodeState) {
			s.withdrawn = true
			s.interrupt(errWithdrawn)
		})
	case request.At == "" && before.DeletionTimestamp == nil && node.DeletionTimestamp != nil:
		r.track(node, func(s *nodeState) { s.unrecorded = s.state == "" })
	}
	r.NodeAdded(node)
}

// NodeDeleted forgets a Node that is deleted.
func (r *reconciler) NodeDeleted(node *nodecache.Node) {
	r.states.forget(node.UID)
	r.queue.Add(node.Name)
}

// track changes the state of a Node that the cache is about to have.
func (r *reconciler) track(node *nodecache.Node, change func(*nodeState)) {
	r.states.track(node, func() bool { return true }) // NodeDeleted is called after this.
	r.states.update(node.UID, change)
}

// processNext reconciles the next Node of the queue, and reports whether more may follow.
func (r *reconciler) processNext(ctx context.Context) bool {
	name, shutdown := r.queue.Get()
	if shutdown {
		return false
	}
	defer r.queue.Done(name)
	if ctx.Err() != nil {
		return false
	}
	after, err := r.reconcile(ctx, name)
	switch {
	case err != nil && ctx.Err() == nil:
		r.Log.Error("reconciling node failed, retrying", "node", name, "tries", r.queue.NumRequeues(name)+1, "err", err)
		r.queue.AddRateLimited(name)
	case after > 0:
		r.queue.Forget(name)
		r.queue.AddAfter(name, after)
	default:
		r.queue.Forget(name)
	}
	r.wakeNext()
	return true
}

// wakeNext reconciles the waiting Nodes for which a slot is free.
func (r *reconciler) wakeNext() {
	for _, name := range r.states.next(r.Config().Concurrency.Nodes) {
		r.queue.Add(name)
	}
}

// selected reports whether the config's nodeSelector includes the Node.
func (r *reconciler) selected(node metav1.Object) bool {
	return r.Config().NodeSelector.Matches(labels.Set(node.GetLabels()))
}

// bulkThreshold is the number of concurrent cleanups at which the agent publishes only the final Event
// of each: nobody reads every step of a thousand Nodes, and each Event is a write.
const bulkThreshold = 10

// bulk reports whether at least bulkThreshold cleanups are running or queued.
func (r *reconciler) bulk() bool {
	taken, waiting := r.states.counts()
	return taken+waiting+r.queue.Len() >= bulkThreshold
}

// publishInvalid publishes that the API server rejects every update of a Node. It returns false if err
// has another cause.
func (r *reconciler) publishInvalid(node metav1.Object, err error) bool {
	var invalid nodepatch.InvalidError
	if !errors.As(err, &invalid) {
		return false
	}
	r.Log.Error("the API server rejects every update of this node until it is fixed", "node", node.GetName(), "err", err)
	r.Reporter.ForMetadata(node).Publish(nodeevent.NodeInvalid(node.GetName(), invalid))
	return true
}
