package drain

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// follower keeps objects as the API server has them, with one informer for each resource.
type follower struct {
	// changed receives a value after each change. Several changes can be one value.
	changed chan struct{}

	mutex sync.Mutex
	// outages are the resources that cannot be watched at present.
	outages map[string]*outage
}

// outage is why a resource cannot be watched.
type outage struct {
	// err is the newest error.
	err error
	// refusals counts how often in a row the API server has denied the right.
	refusals int
}

// maxRefusals is the number of refusals in a row that ends the drain. Reapplying roles can restore
// a right. With the backoff of the informer, five refusals take about 20 seconds.
const maxRefusals = 5

// outage returns why the known objects may be out of date, nil if they are current, and
// whether it is worth waiting for the end of the outage.
func (f *follower) outage() (err error, wait bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	wait = true
	for _, resource := range slices.Sorted(maps.Keys(f.outages)) {
		each := f.outages[resource]
		if err == nil || each.refusals >= maxRefusals {
			err = fmt.Errorf("watching %s: %w", resource, each.err)
		}
		wait = wait && each.refusals < maxRefusals
	}
	return err, wait
}

// failed records that a list or a watch has failed.
func (f *follower) failed(resource string, err error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.outages == nil {
		f.outages = map[string]*outage{}
	}
	if f.outages[resource] == nil {
		f.outages[resource] = &outage{}
	}
	f.outages[resource].err = err
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		f.outages[resource].refusals++
	}
	f.notify()
}

// recovered records that a watch is open.
func (f *follower) recovered(resource string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.outages[resource] != nil {
		delete(f.outages, resource)
		f.notify()
	}
}

func (f *follower) notify() {
	select {
	case f.changed <- struct{}{}:
	default: // The receiver has yet to handle the change before.
	}
}

// follow runs an informer until ctx is done, and returns its store once it holds all
// objects. If the first list fails, follow returns that error: an informer alone would
// retry forever. It does not wait for the informer to stop, which only reads.
func (f *follower) follow(ctx context.Context, s selection) (cache.Store, error) {
	failed := make(chan error, 1)
	informer := cache.NewSharedIndexInformer(f.source(s), s.kind, 0, cache.Indexers{})
	if err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		f.failed(s.resource, err)
		select {
		case failed <- err:
		default: // Only the first error is read.
		}
	}); err != nil {
		return nil, err
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f.notify() },
		UpdateFunc: func(any, any) { f.notify() },
		DeleteFunc: func(any) { f.notify() },
	}); err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	for {
		select {
		case <-informer.HasSyncedChecker().Done():
			return informer.GetStore(), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case err := <-failed:
			// With a version, the list was received but may not be stored yet: then the error
			// comes from the watch.
			if informer.LastSyncResourceVersion() == "" {
				return nil, err
			}
		}
	}
}

// selection are the objects of one resource that a selector selects.
type selection struct {
	// client of the resource's API group.
	client   rest.Interface
	resource string
	kind     runtime.Object
	// namespace of the objects, empty for all.
	namespace string
	fields    fields.Selector
	labels    labels.Selector
}

// source lists and watches the selected objects.
func (f *follower) source(s selection) *cache.ListWatch {
	source := cache.NewFilteredListWatchFromClient(s.client, s.resource, s.namespace, func(options *metav1.ListOptions) {
		if s.fields != nil {
			options.FieldSelector = s.fields.String()
		}
		if s.labels != nil {
			options.LabelSelector = s.labels.String()
		}
		if options.ResourceVersion == "0" {
			// Without streaming lists, the API server would answer from a cache that may
			// lack a Pod that was bound a moment ago.
			options.ResourceVersion = ""
		}
	})
	open := source.WatchFuncWithContext
	source.WatchFuncWithContext = func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		opened, err := open(ctx, options)
		if err == nil {
			f.recovered(s.resource)
		}
		return opened, err
	}
	return source
}
