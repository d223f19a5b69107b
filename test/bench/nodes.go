package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// create makes n nodes that have a finalizer and as many images as the kubelet
// would report, and returns their names. Creating them is not measured.
func (b *bench) create(ctx context.Context, prefix, finalizer string) ([]string, error) {
	names := make([]string, b.nodes)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return names, b.each(ctx, names, func(ctx context.Context, name string) error {
		node := cluster.MakeNode(name, nil)
		node.Finalizers = []string{finalizer}
		for image := range b.images {
			node.Status.Images = append(node.Status.Images, corev1.ContainerImage{
				Names: []string{
					fmt.Sprintf("registry.example.com/platform/team-%d/service-%d@sha256:%064x", image%7, image, image),
					fmt.Sprintf("registry.example.com/platform/team-%d/service-%d:v1.%d.0", image%7, image, image),
				},
				SizeBytes: 50_000_000 + int64(image)*1_000_003,
			})
		}
		_, err := b.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		return err
	})
}

// each calls work for every name, as many at a time as the options say.
func (b *bench) each(ctx context.Context, names []string, work func(context.Context, string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.concurrency)
	for _, name := range names {
		group.Go(func() error { return work(ctx, name) })
	}
	return group.Wait()
}

// departures are the moments at which nodes were deleted and at which they were gone.
type departures struct {
	mutex   sync.Mutex
	deleted map[string]time.Time
	took    []time.Duration
	first   time.Time
	last    time.Time
}

// delete deletes a node and remembers when that was asked for.
func (d *departures) delete(ctx context.Context, client kubernetes.Interface, name string) error {
	now := time.Now()
	d.mutex.Lock()
	d.deleted[name] = now
	if d.first.IsZero() {
		d.first = now
	}
	d.mutex.Unlock()
	return client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
}

func (d *departures) gone(name string) {
	now := time.Now()
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.took = append(d.took, now.Sub(d.deleted[name]))
	d.last = now
}

// depart runs what makes every node go, and returns when the last one is gone,
// as a watch of names alone sees it.
func (b *bench) depart(ctx context.Context, names []string, work func(context.Context, *departures) error) (*departures, error) {
	d := &departures{deleted: map[string]time.Time{}}
	nodes := metadata.NewForConfigOrDie(b.cluster.RESTConfig()).Resource(corev1.SchemeGroupVersion.WithResource("nodes"))
	list, err := nodes.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	watching, err := nodes.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return nil, err
	}
	defer watching.Stop()
	failed := make(chan error, 1)
	go func() { failed <- work(ctx, d) }()
	for left := len(names); left > 0; {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case err := <-failed:
			if err != nil {
				return nil, err
			}
		case event, open := <-watching.ResultChan():
			if !open {
				return nil, fmt.Errorf("the watch of nodes ended with %d nodes left", left)
			}
			if event.Type == watch.Deleted {
				d.gone(event.Object.(metav1.Object).GetName())
				left--
			}
		}
	}
	return d, nil
}
