// Package watcher sees Nodes come and go. It is the only writer of our
// finalizer after admission: it adds the finalizer to Nodes that lack it, has
// the plan of a terminating Node run, and takes the finalizer off when nothing
// holds the Node any longer.
package watcher

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
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
}

// Options are what a watcher works with. All are required.
type Options struct {
	Client kubernetes.Interface
	// Config returns the config in force.
	Config   func() *config.Config
	Executor *executor.Executor
	// Previewer is the executor for dry runs.
	Previewer *executor.Executor
	Records   *runrecord.Store
	Reporter  *runrecord.Reporter
	Metrics   Metrics
	// Fence returns an error once this agent may no longer act as the leader.
	Fence func() error
	Clock clock.WithTicker
	Log   *slog.Logger
}

// Watcher reconciles Nodes. Make one with New and run it once.
type Watcher struct {
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

// New returns a watcher that does nothing yet.
func New(options Options) *Watcher {
	w := &Watcher{
		Options: options,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "nodes"}),
		runs: newRuns(),
	}
	factory := informers.NewSharedInformerFactoryWithOptions(options.Client, 0, informers.WithTransform(trim))
	w.nodes = factory.Core().V1().Nodes().Informer()
	return w
}

// Run works until ctx ends, and returns when nothing of it is at work any more.
// It returns an error when it cannot begin.
func (w *Watcher) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	defer w.runs.wait()
	defer w.queue.ShutDown()
	if _, err := w.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { w.seen(object.(*corev1.Node)) },
		UpdateFunc: func(_, object any) { w.seen(object.(*corev1.Node)) },
		DeleteFunc: w.gone,
	}); err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	group.Go(func() { w.nodes.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), w.nodes.HasSynced) {
		return fmt.Errorf("listing nodes for the first time: %w", context.Cause(ctx))
	}
	w.Log.Info("watching nodes", "nodes", len(w.nodes.GetStore().ListKeys()))
	group.Go(func() { w.keepHistory(ctx) })
	for range workers {
		group.Go(func() {
			for w.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	return nil
}

// next reconciles the next Node of the queue, and reports whether there may be more.
func (w *Watcher) next(ctx context.Context) bool {
	name, shutdown := w.queue.Get()
	if shutdown {
		return false
	}
	defer w.queue.Done(name)
	if ctx.Err() != nil {
		return false
	}
	again, err := w.reconcile(ctx, name)
	switch {
	case err != nil && ctx.Err() == nil:
		w.Log.Error("reconciling node failed, trying again", "node", name, "tries", w.queue.NumRequeues(name)+1, "err", err)
		w.queue.AddRateLimited(name)
	case again > 0:
		w.queue.Forget(name)
		w.queue.AddAfter(name, again)
	default:
		w.queue.Forget(name)
	}
	for _, waiting := range w.runs.room(w.Config().Concurrency.Nodes) {
		w.queue.Add(waiting)
	}
	return true
}

func (w *Watcher) seen(node *corev1.Node) { w.queue.Add(node.Name) }

// Reconsider looks at every Node again: the config changed.
func (w *Watcher) Reconsider() {
	for _, name := range w.nodes.GetStore().ListKeys() {
		w.queue.Add(name)
	}
}

func (w *Watcher) gone(object any) {
	if last, missed := object.(cache.DeletedFinalStateUnknown); missed {
		object = last.Obj
	}
	node, known := object.(*corev1.Node)
	if !known {
		return
	}
	w.settled.Delete(node.UID)
	w.runs.interrupt(node.UID, errNodeGone)
	w.queue.Add(node.Name)
}

// node returns the Node as the informer knows it, or nil.
func (w *Watcher) node(name string) *corev1.Node {
	object, found, err := w.nodes.GetStore().GetByKey(name)
	if err != nil || !found {
		return nil // GetByKey of a thread-safe store never fails.
	}
	return object.(*corev1.Node)
}

// guard says whether a run for a Node UID may go on with a side effect.
func (w *Watcher) guard(name string, uid types.UID) error {
	if err := w.Fence(); err != nil {
		return err
	}
	if node := w.node(name); node == nil || node.UID != uid || !api.HasFinalizer(node) {
		return errNodeGone
	}
	return nil
}

// Counts are numbers of Nodes as the informer knows them.
type Counts struct {
	// WithFinalizer have our finalizer.
	WithFinalizer int
	// Unprotected are selected by config and lack it.
	Unprotected int
	// Running cleanups.
	Running int
}

// Counts returns the numbers of now.
func (w *Watcher) Counts() Counts {
	counts := Counts{Running: w.runs.count()}
	for _, object := range w.nodes.GetStore().List() {
		node := object.(*corev1.Node)
		switch {
		case api.HasFinalizer(node):
			counts.WithFinalizer++
		case w.selected(node):
			counts.Unprotected++
		}
	}
	return counts
}
