package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// nodeID identifies a Node.
type nodeID struct {
	name string
	uid  types.UID
}

// create creates n Nodes that have a finalizer and as many images as the kubelet
// would report, and returns them. Creating them is not measured.
func (b *bench) create(ctx context.Context, prefix, finalizer string) ([]nodeID, error) {
	nodes := make([]nodeID, b.nodes)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.concurrency)
	for i := range nodes {
		group.Go(func() error {
			node := cluster.MakeCloudNode(fmt.Sprintf("%s-%d", prefix, i), b.images)
			node.Finalizers = []string{finalizer}
			created, err := b.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			nodes[i] = nodeID{created.Name, created.UID}
			return nil
		})
	}
	return nodes, group.Wait()
}

// each calls work for every Node, as many at a time as the options say.
func (b *bench) each(ctx context.Context, nodes []nodeID, work func(context.Context, nodeID) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.concurrency)
	for _, node := range nodes {
		group.Go(func() error { return work(ctx, node) })
	}
	return group.Wait()
}

// deletions records when each deletion was requested and observed.
type deletions struct {
	mutex   sync.Mutex
	deleted map[string]time.Time
	took    []time.Duration
	first   time.Time
	last    time.Time
}

// delete deletes a Node and records the time of the request.
func (d *deletions) delete(ctx context.Context, client kubernetes.Interface, name string) error {
	now := time.Now()
	d.mutex.Lock()
	d.deleted[name] = now
	if d.first.IsZero() {
		d.first = now
	}
	d.mutex.Unlock()
	return client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
}

func (d *deletions) observed(name string) {
	now := time.Now()
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.took = append(d.took, now.Sub(d.deleted[name]))
	d.last = now
}

// deleteAndWait runs the work that deletes every Node, and returns when a metadata informer has observed
// the last deletion.
func (b *bench) deleteAndWait(ctx context.Context, targets []nodeID, work func(context.Context, *deletions) error) (*deletions, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := &deletions{deleted: map[string]time.Time{}}
	client, err := metadata.NewForConfig(b.cluster.RESTConfig())
	if err != nil {
		return nil, err
	}
	nodes := metadatainformer.NewFilteredMetadataInformer(client, corev1.SchemeGroupVersion.WithResource("nodes"),
		metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
	remaining, done := len(targets), make(chan struct{})
	if _, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(object any) {
		name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
		if err != nil {
			cancel(err)
			return
		}
		d.observed(name)
		if remaining--; remaining == 0 {
			close(done)
		}
	}}); err != nil {
		return nil, err
	}
	go nodes.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), nodes.HasSynced) {
		return nil, context.Cause(ctx)
	}
	go func() {
		if err := work(ctx, d); err != nil {
			cancel(err)
		}
	}()
	look := time.NewTicker(stuckAfter)
	defer look.Stop()
	for before := 0; ; {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-done:
			return d, nil
		case <-look.C:
			now := d.count()
			if now == before {
				return nil, fmt.Errorf("waiting for deletions: no node was deleted within %s, after %d of %d", stuckAfter, now, len(targets))
			}
			before = now
		}
	}
}

// stuckAfter is the time without a deletion after which a round fails.
const stuckAfter = time.Minute

func (d *deletions) count() int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return len(d.took)
}
