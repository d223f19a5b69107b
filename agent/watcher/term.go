package watcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// term is the work of one term as the leader: what is known of the Nodes, and
// what is being done about them. A term that is over leaves nothing behind.
type term struct {
	Options
	nodes cache.SharedIndexInformer
	queue workqueue.TypedRateLimitingInterface[string]
	runs  *runs
	// journal is where runs begin that begin together.
	journal *runrecord.Journal
	// standing is where the cleanups stand, for metrics.
	standing standings
	// pauses are of Nodes whose cleanup could not go on.
	pauses    pauses
	firstHand firstHand
	// withdrawn holds Nodes from which a request for a cleanup was taken off.
	withdrawn sync.Map // types.UID → struct{}
	// restart holds Nodes whose cleanup stands still for want of a secret, perhaps.
	restart sync.Map // types.UID → struct{}
	// written holds when each Secret was written that was there when the term began.
	written *sync.Map // string → time.Time
	// restarted holds Nodes whose cleanup has had a new start because of one.
	restarted sync.Map // types.UID → struct{}
	// released holds Nodes from which this term took our finalizer.
	released sync.Map // types.UID → struct{}
	// settled holds Nodes without our finalizer about which nothing is left to say.
	settled sync.Map // types.UID → struct{}
	// late holds Nodes of which it was said that their deadline has passed.
	late sync.Map // types.UID → struct{}
	// deleted holds what measures how long ago a Node was deleted.
	deleted sync.Map // types.UID → func() time.Duration
	// waiting holds what tells of Nodes that wait for their turn.
	waiting sync.Map // types.UID → *runrecord.NodeReporter
}

// Delays between tries of a reconcile that failed, for one Node.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = time.Minute
)

// workers reconcile at the same time. A reconcile is a few API calls; the runs
// of plans are goroutines of their own and do not keep a worker.
const workers = 32

func newTerm(options Options, written *sync.Map) *term {
	t := &term{
		Options: options,
		written: written,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "nodes"}),
		runs: newRuns(),
	}
	// Only the metadata: a Node with its images and addresses is five times as
	// large, and a server without streaming lists would send all of that at once.
	t.nodes = metadatainformer.NewFilteredMetadataInformer(options.Metadata, nodesResource,
		metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
	return t
}

func (t *term) run(ctx context.Context) error {
	var group sync.WaitGroup
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	t.journal = t.Records.Journal(ctx, t.Clock, t.Log, lose)
	defer t.journal.Wait()
	defer t.runs.wait() // They write to the journal.
	defer group.Wait()  // Before the runs, for a worker may just have begun one.
	defer t.queue.ShutDown()
	if err := t.nodes.SetTransform(newTrimmer().trim); err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	if _, err := t.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { t.seen(object.(*nodeMeta)) },
		UpdateFunc: func(before, object any) { t.changed(before.(*nodeMeta), object.(*nodeMeta)) },
		DeleteFunc: t.gone,
	}); err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	group.Go(func() { t.nodes.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), t.nodes.HasSynced) {
		return fmt.Errorf("listing nodes for the first time: %w", context.Cause(ctx))
	}
	t.takeStock(ctx)
	t.Log.Info("watching nodes", "nodes", len(t.nodes.GetStore().ListKeys()))
	group.Go(func() { t.keepHistory(ctx) })
	for range workers {
		group.Go(func() {
			for t.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	if err := context.Cause(ctx); errors.Is(err, runrecord.ErrTakenOver) {
		return err
	}
	return nil
}

// next reconciles the next Node of the queue, and reports whether there may be more.
func (t *term) next(ctx context.Context) bool {
	name, shutdown := t.queue.Get()
	if shutdown {
		return false
	}
	defer t.queue.Done(name)
	if ctx.Err() != nil {
		return false
	}
	again, err := t.reconcile(ctx, name)
	switch {
	case err != nil && ctx.Err() == nil:
		t.Log.Error("reconciling node failed, trying again", "node", name, "tries", t.queue.NumRequeues(name)+1, "err", err)
		t.queue.AddRateLimited(name)
	case again > 0:
		t.queue.Forget(name)
		t.queue.AddAfter(name, again)
	default:
		t.queue.Forget(name)
	}
	for _, waiting := range t.runs.next(t.Config().Concurrency.Nodes) {
		t.queue.Add(waiting)
	}
	return true
}

var nodesResource = corev1.SchemeGroupVersion.WithResource("nodes")

// nodeMeta is what the informer knows of a Node, see trim.
type nodeMeta = metav1.PartialObjectMetadata

func (t *term) seen(node *nodeMeta) {
	if node.DeletionTimestamp != nil {
		t.terminating(node) // The measurement begins here.
	}
	t.queue.Add(node.Name)
}

func (t *term) changed(before, node *nodeMeta) {
	if before.UID != node.UID {
		t.gone(before) // A watch that was cut tells no more than what it finds under the name.
		return
	}
	if before.DeletionTimestamp == nil && node.DeletionTimestamp != nil && !involved(before) {
		t.firstHand.deleted.Store(node.UID, struct{}{})
	}
	if request := before.Annotations[api.AnnotationCleanupRequestedAt]; request != "" && request != node.Annotations[api.AnnotationCleanupRequestedAt] {
		t.withdrawn.Store(node.UID, struct{}{})
		t.runs.interrupt(node.UID, errWithdrawn)
	}
	t.seen(node)
}

func (t *term) gone(object any) {
	if last, missed := object.(cache.DeletedFinalStateUnknown); missed {
		object = last.Obj
	}
	node, known := object.(*nodeMeta)
	if !known {
		return
	}
	t.settled.Delete(node.UID)
	t.firstHand.forget(node.UID)
	t.withdrawn.Delete(node.UID)
	t.released.Delete(node.UID)
	t.restart.Delete(node.UID)
	t.restarted.Delete(node.UID)
	t.late.Delete(node.UID)
	t.deleted.Delete(node.UID)
	t.waiting.Delete(node.UID)
	t.standing.forget(node.UID)
	t.pauses.forget(node.UID)
	t.runs.interrupt(node.UID, errNodeGone)
	t.queue.Add(node.Name)
}

// node returns the Node as the informer knows it, or nil.
func (t *term) node(name string) *nodeMeta {
	object, found, err := t.nodes.GetStore().GetByKey(name)
	if err != nil || !found {
		return nil // GetByKey of a thread-safe store never fails.
	}
	return object.(*nodeMeta)
}

// guard says whether a run may go on with a side effect.
func (t *term) guard(run *api.Run) error {
	if err := t.Fence(); err != nil {
		return err
	}
	switch node := t.node(run.Node); {
	case node == nil || node.UID != run.NodeUID:
		return errNodeGone
	case node.DeletionTimestamp == nil && !asked(node, run):
		return errWithdrawn
	case node.DeletionTimestamp != nil && !api.HasFinalizer(node):
		return errNodeGone
	}
	return nil
}
