package watcher

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// term is the work of one term as the leader: what is known of the Nodes, and
// what is being done about them. A term that is over leaves nothing behind.
type term struct {
	Options
	nodes cache.SharedIndexInformer
	queue workqueue.TypedRateLimitingInterface[string]
	runs  *runs
	// settled holds Nodes without our finalizer about which nothing is left to say.
	settled sync.Map // types.UID → struct{}
}

// Delays between tries of a reconcile that failed, for one Node.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = time.Minute
)

// workers reconcile at the same time. A reconcile is a few API calls; the runs
// of plans are goroutines of their own and do not keep a worker.
const workers = 32

func newTerm(options Options) *term {
	t := &term{
		Options: options,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "nodes"}),
		runs: newRuns(),
	}
	factory := informers.NewSharedInformerFactoryWithOptions(options.Client, 0, informers.WithTransform(trim))
	t.nodes = factory.Core().V1().Nodes().Informer()
	return t
}

func (t *term) run(ctx context.Context) error {
	var group sync.WaitGroup
	defer t.runs.wait()
	defer group.Wait() // Before the runs, for a worker may just have begun one.
	defer t.queue.ShutDown()
	if _, err := t.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { t.seen(object.(*corev1.Node)) },
		UpdateFunc: func(_, object any) { t.seen(object.(*corev1.Node)) },
		DeleteFunc: t.gone,
	}); err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	group.Go(func() { t.nodes.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), t.nodes.HasSynced) {
		return fmt.Errorf("listing nodes for the first time: %w", context.Cause(ctx))
	}
	t.Log.Info("watching nodes", "nodes", len(t.nodes.GetStore().ListKeys()))
	group.Go(func() { t.keepHistory(ctx) })
	for range workers {
		group.Go(func() {
			for t.next(ctx) {
			}
		})
	}
	<-ctx.Done()
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
	for _, waiting := range t.runs.room(t.Config().Concurrency.Nodes) {
		t.queue.Add(waiting)
	}
	return true
}

func (t *term) seen(node *corev1.Node) { t.queue.Add(node.Name) }

func (t *term) gone(object any) {
	if last, missed := object.(cache.DeletedFinalStateUnknown); missed {
		object = last.Obj
	}
	node, known := object.(*corev1.Node)
	if !known {
		return
	}
	t.settled.Delete(node.UID)
	t.runs.interrupt(node.UID, errNodeGone)
	t.queue.Add(node.Name)
}

// node returns the Node as the informer knows it, or nil.
func (t *term) node(name string) *corev1.Node {
	object, found, err := t.nodes.GetStore().GetByKey(name)
	if err != nil || !found {
		return nil // GetByKey of a thread-safe store never fails.
	}
	return object.(*corev1.Node)
}

// guard says whether a run for a Node UID may go on with a side effect.
func (t *term) guard(name string, uid types.UID) error {
	if err := t.Fence(); err != nil {
		return err
	}
	if node := t.node(name); node == nil || node.UID != uid || !api.HasFinalizer(node) {
		return errNodeGone
	}
	return nil
}

func (t *term) counts() (withFinalizer, unprotected, running int) {
	for _, object := range t.nodes.GetStore().List() {
		node := object.(*corev1.Node)
		switch {
		case api.HasFinalizer(node):
			withFinalizer++
		case t.selected(node):
			unprotected++
		}
	}
	return withFinalizer, unprotected, t.runs.count()
}
