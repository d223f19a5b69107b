package drain

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// follower keeps objects as the API server has them, by a list and a watch.
type follower struct {
	client rest.Interface
	clock  clock.Clock
	// changed is told of any change; what is told before it is read is one.
	changed chan struct{}

	mutex sync.Mutex
	// trouble is why what is known is from before, by resource.
	trouble map[string]*trouble
}

// trouble is what came back since objects of a resource were known last.
type trouble struct {
	err error
	// refused counts how often the API server said that it is not allowed.
	refused int
}

// maxRefused is how often in a row a right may be missing until there is no hope that it
// comes back, as it does when roles are applied anew. It takes half a minute.
const maxRefused = 5

// fault returns why what is known is from before, nil where it is not, and whether it is to
// be waited for that this mends itself.
func (f *follower) fault() (err error, wait bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	wait = true
	for _, resource := range slices.Sorted(maps.Keys(f.trouble)) {
		each := f.trouble[resource]
		if err == nil || each.refused >= maxRefused {
			err = fmt.Errorf("watching %s: %w", resource, each.err)
		}
		wait = wait && each.refused < maxRefused
	}
	return err, wait
}

// failed notes that a list or a watch ended.
func (f *follower) failed(resource string, err error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.trouble == nil {
		f.trouble = map[string]*trouble{}
	}
	if f.trouble[resource] == nil {
		f.trouble[resource] = &trouble{}
	}
	f.trouble[resource].err = err
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		f.trouble[resource].refused++
	}
	f.note()
}

// filled notes that the objects are known.
func (f *follower) filled(resource string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	delete(f.trouble, resource)
}

func (f *follower) note() {
	select {
	case f.changed <- struct{}{}:
	default: // One look is due already.
	}
}

// follow returns when the objects are known for the first time, and follows them
// until ctx is done. An informer would keep it to itself that it may not list.
//
// Nobody waits for the end of following: while the API server is away, the
// reflector backs off for up to a minute without looking at ctx. It only reads.
func (f *follower) follow(ctx context.Context, resource string, kind runtime.Object, selector fields.Selector) (cache.Store, error) {
	source := cache.NewFilteredListWatchFromClient(f.client, resource, metav1.NamespaceAll, func(options *metav1.ListOptions) {
		options.FieldSelector = selector.String()
		if options.ResourceVersion == "0" {
			// A server that does not stream lists would answer from a cache
			// that may not know yet of a pod that was bound a moment ago.
			options.ResourceVersion = ""
		}
	})
	store := &notifyingStore{Store: cache.NewStore(cache.MetaNamespaceKeyFunc), of: f, resource: resource, filled: make(chan struct{})}
	reflector := cache.NewReflectorWithOptions(source, kind, store, cache.ReflectorOptions{Clock: f.clock})
	delay := wait.Backoff{Duration: time.Second, Factor: 2, Steps: 5, Jitter: 0.5, Cap: 30 * time.Second}.DelayWithReset(f.clock, 2*time.Minute)
	failed := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			// What is known is from before then, and evictions name a UID.
			if err := reflector.ListAndWatchWithContext(ctx); err != nil {
				f.failed(resource, err)
				select {
				case failed <- err:
				default: // Only the first answer is waited for.
				}
			}
			timer := f.clock.NewTimer(delay())
			select {
			case <-ctx.Done():
			case <-timer.C():
			}
			timer.Stop()
		}
	}()
	select {
	case <-store.filled:
		return store, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case err := <-failed:
		select {
		case <-store.filled:
			return store, nil
		default:
			return nil, err
		}
	}
}

// notifyingStore tells of its changes.
type notifyingStore struct {
	cache.Store
	of       *follower
	resource string
	// filled is closed when the objects are known for the first time.
	filled chan struct{}
	once   sync.Once
}

func (s *notifyingStore) note(err error) error {
	s.of.note()
	return err
}

// Add implements cache.ReflectorStore.
func (s *notifyingStore) Add(object any) error { return s.note(s.Store.Add(object)) }

// Update implements cache.ReflectorStore.
func (s *notifyingStore) Update(object any) error { return s.note(s.Store.Update(object)) }

// Delete implements cache.ReflectorStore.
func (s *notifyingStore) Delete(object any) error { return s.note(s.Store.Delete(object)) }

// Replace implements cache.ReflectorStore.
func (s *notifyingStore) Replace(objects []any, version string) error {
	err := s.Store.Replace(objects, version)
	s.of.filled(s.resource)
	s.once.Do(func() { close(s.filled) })
	return s.note(err)
}
