package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// reconciler is the controller during one leadership.
type reconciler struct {
	Options
	nodes  cache.SharedIndexInformer
	queue  workqueue.TypedRateLimitingInterface[string]
	states *states
	// secretWrites: see Controller.
	secretWrites *sync.Map
	// deposed: the log says already that this agent no longer leads.
	deposed sync.Once
}

// Delays between reconciles of one Node that fail, and between runs that cannot go on.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = time.Minute
)

// workers is the number of concurrent reconciles. A reconcile is a few API calls; runs
// have goroutines of their own and occupy no worker.
const workers = 32

// invalidRetry is the delay after which a Node is reconciled again whose every update the
// API server rejects: only a person can fix it.
const invalidRetry = 5 * time.Minute

var nodesResource = corev1.SchemeGroupVersion.WithResource("nodes")

// nodeMeta is a Node in the informer's store, see trim.
type nodeMeta = metav1.PartialObjectMetadata

func newReconciler(options Options, secretWrites *sync.Map) *reconciler {
	return &reconciler{
		Options: options,
		// Only the metadata: a Node with its images and addresses is five times as
		// large, and a server without streaming lists sends all of it at once.
		nodes: metadatainformer.NewFilteredMetadataInformer(options.Metadata, nodesResource,
			metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer(),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "nodes"}),
		states:       newStates(),
		secretWrites: secretWrites,
	}
}

func (r *reconciler) run(ctx context.Context) error {
	var group sync.WaitGroup
	defer r.states.runs.Wait()
	defer group.Wait() // Before the runs: a worker may just have started one.
	defer r.queue.ShutDown()
	if err := r.nodes.SetTransform(trim); err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	if _, err := r.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { r.onAdd(object.(*nodeMeta)) },
		UpdateFunc: func(before, object any) { r.onUpdate(before.(*nodeMeta), object.(*nodeMeta)) },
		DeleteFunc: r.onDelete,
	}); err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	group.Go(func() { r.nodes.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), r.nodes.HasSynced) {
		return fmt.Errorf("listing nodes for the first time: %w", context.Cause(ctx))
	}
	r.Log.Info("watching nodes", "nodes", len(r.nodes.GetStore().ListKeys()))
	group.Go(func() { r.pruneRecords(ctx) })
	for range workers {
		group.Go(func() {
			for r.processNext(ctx) {
			}
		})
	}
	<-ctx.Done()
	return nil
}

// onAdd queues a Node, and starts to measure how long it has been terminating.
func (r *reconciler) onAdd(node *nodeMeta) {
	if node.DeletionTimestamp != nil {
		r.states.track(node, func() bool { return true }) // Its removal is handled after this.
		r.states.update(node.UID, func(s *nodeState) {
			if s.sinceDeletion == nil {
				s.sinceDeletion = r.Clock.Elapsed(node.DeletionTimestamp.Time)
			}
		})
	}
	r.queue.Add(node.Name)
}

// onUpdate queues a Node that changed.
func (r *reconciler) onUpdate(before, node *nodeMeta) {
	if before.UID != node.UID { // The watch was interrupted, and the name belongs to another Node.
		r.onDelete(before)
	}
	request := before.Annotations[api.AnnotationCleanupRequestedAt]
	if before.UID == node.UID && request != "" && request != node.Annotations[api.AnnotationCleanupRequestedAt] {
		r.states.track(node, func() bool { return true }) // Its removal is handled after this.
		r.states.update(node.UID, func(s *nodeState) {
			s.withdrawn = true
			s.interrupt(errWithdrawn)
		})
	}
	r.onAdd(node)
}

// onDelete forgets a Node that is deleted.
func (r *reconciler) onDelete(object any) {
	if last, missed := object.(cache.DeletedFinalStateUnknown); missed {
		object = last.Obj
	}
	if node, known := object.(*nodeMeta); known {
		r.states.forget(node.UID)
		r.queue.Add(node.Name)
	}
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
		r.logFailure(name, err)
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

// logFailure logs why a reconcile failed. When the leadership is lost, thousands fail at
// once for the same reason: that is one line.
func (r *reconciler) logFailure(name string, err error) {
	if lost := r.Fence(); lost != nil {
		r.deposed.Do(func() { r.Log.Error("reconciling stops: this agent is no longer the leader", "err", lost) })
		return
	}
	r.Log.Error("reconciling node failed, trying again", "node", name, "tries", r.queue.NumRequeues(name)+1, "err", err)
}

// wakeNext reconciles the Nodes that wait for a slot, as far as slots are free.
func (r *reconciler) wakeNext() {
	for _, name := range r.states.next(r.Config().Concurrency.Nodes) {
		r.queue.Add(name)
	}
}

// cached returns the Node in the informer's store, or nil.
func (r *reconciler) cached(name string) *nodeMeta {
	object, found, err := r.nodes.GetStore().GetByKey(name)
	if err != nil || !found {
		return nil // GetByKey of a thread-safe store never fails.
	}
	return object.(*nodeMeta)
}

// exists reports whether the informer's store has the Node, of that UID.
func (r *reconciler) exists(node metav1.Object) bool {
	current := r.cached(node.GetName())
	return current != nil && current.UID == node.GetUID()
}

// selected reports whether the config's nodeSelector includes the Node.
func (r *reconciler) selected(node metav1.Object) bool {
	return r.Config().NodeSelector.Matches(labels.Set(node.GetLabels()))
}

// bulkThreshold is the number of concurrent cleanups from which each publishes only one
// Event, at its end: nobody reads every step of a thousand Nodes, and each Event is a write.
const bulkThreshold = 10

// bulk reports whether that many cleanups run or are about to.
func (r *reconciler) bulk() bool { return r.states.busy()+r.queue.Len() >= bulkThreshold }

// publishInvalid handles the error of a Node whose every update the API server rejects,
// and reports whether err is that.
func (r *reconciler) publishInvalid(node metav1.Object, err error) bool {
	var invalid invalidError
	if !errors.As(err, &invalid) {
		return false
	}
	r.Log.Error("the API server rejects every update of this node until somebody fixes it", "node", node.GetName(), "err", err)
	r.Reporter.ForMetadata(node).Publish(report.NodeInvalid(invalid))
	return true
}
