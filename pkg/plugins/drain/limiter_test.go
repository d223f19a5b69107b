package drain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
)

// counter is an API server in memory that takes a second for each request.
type counter struct {
	mutex        sync.Mutex
	inFlight     int
	highest      int
	begun, ended []string
	answer       func(pod string) metav1.Status
}

func (c *counter) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodGet {
		return inMemory{&stub{}}.RoundTrip(request) // Of budgets, which may not be watched.
	}
	c.mutex.Lock()
	c.inFlight++
	c.highest = max(c.highest, c.inFlight)
	c.begun = append(c.begun, request.URL.Path)
	c.mutex.Unlock()
	<-time.After(time.Second)
	c.mutex.Lock()
	c.inFlight--
	c.ended = append(c.ended, request.URL.Path)
	c.mutex.Unlock()
	return inMemory{&stub{answer: func(*http.Request) metav1.Status { return c.answer(request.URL.Path) }}}.RoundTrip(request)
}

func (c *counter) plugin(limiter *Limiter) *plugin {
	return &plugin{client: clientOver(c), clock: clock.RealClock{}, limiter: limiter}
}

// podsOn returns Pods, each with its own controller.
func podsOn(node string, number int) []*corev1.Pod {
	var made []*corev1.Pod
	for i := range number {
		made = append(made, makePod(fmt.Sprintf("%s-%d", node, i), func(pod *corev1.Pod) {
			pod.OwnerReferences[0].UID = pod.UID
			pod.Spec.NodeName = node
		}))
	}
	return made
}

func TestEvictionsOfAllNodesAreBounded(t *testing.T) {
	const nodes, each = 50, 20
	for name, limit := range map[string]int{"one": 1, "few": 7, "many": 200} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &counter{answer: func(string) metav1.Status { return metav1.Status{} }}
				p := server.plugin(NewLimiter(limit))
				began := time.Now()
				var group sync.WaitGroup
				for i := range nodes {
					group.Go(func() {
						node := ready(corev1.ConditionTrue)
						node.Name = fmt.Sprintf("node-%d", i)
						target := target()
						target.Node = node
						pods := podsOn(node.Name, each)
						if _, err := newDrain(p, target, pods).advance(t.Context(), node, pods); err != nil {
							t.Error(err)
						}
					})
				}
				group.Wait()
				if server.highest != limit || len(server.ended) != nodes*each {
					t.Errorf("%d of %d evictions, at most %d in flight, want %d", len(server.ended), nodes*each, server.highest, limit)
				}
				// No slot stays unused while there is something to evict.
				if took, want := time.Since(began), time.Duration((nodes*each+limit-1)/limit)*time.Second; took > want+2*time.Second {
					t.Errorf("it took %s, want about %s", took, want)
				}
			})
		})
	}
}

func TestChangedLimitTakesEffectAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter(2)
		var releases []func()
		granted := make(chan func(), 10)
		for range 10 {
			go func() {
				release, err := limiter.acquire(t.Context(), "node")
				if err != nil {
					t.Error(err)
				}
				granted <- release
			}()
		}
		expect := func(number int) {
			t.Helper()
			synctest.Wait()
			for len(granted) > 0 {
				releases = append(releases, <-granted)
			}
			if len(releases) != number {
				t.Errorf("%d hold a slot, want %d", len(releases), number)
			}
		}
		free := func() {
			releases[0]()
			releases = releases[1:]
		}
		expect(2)
		limiter.SetLimit(5)
		expect(5)
		limiter.SetLimit(3)
		expect(5) // No running eviction is interrupted.
		free()
		free()
		expect(3) // No further eviction starts.
		free()
		expect(3)
		limiter.SetLimit(0) // As if 1, or nothing would ever be evicted.
		for len(releases) > 1 {
			free()
		}
		for range 5 {
			expect(1)
			free()
		}
		expect(0)
	})
}

func TestNodeWithManyPodsDoesNotStarveOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &counter{answer: func(string) metav1.Status { return overBudget(0) }}
		p := server.plugin(NewLimiter(2))
		ctx, cancel := context.WithCancel(t.Context())
		node := ready(corev1.ConditionTrue)
		pods := podsOn("blocked", 500)
		large := target()
		large.Node = node
		var group sync.WaitGroup
		group.Go(func() {
			d := newDrain(p, large, pods)
			for ctx.Err() == nil {
				if _, err := d.advance(ctx, node, pods); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				_ = d.wait(ctx, nil) // The loop ends with ctx.
			}
		})
		<-time.After(10 * time.Second)
		small := target()
		small.Node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "small"}}
		began := time.Now()
		one := podsOn("small", 3)
		if _, err := newDrain(p, small, one).advance(t.Context(), small.Node, one); err != nil {
			t.Error(err)
		}
		// Both slots are taken at first; then every second slot is for the small node.
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("the evictions of the small node took %s", took)
		}
		cancel()
		group.Wait()
		if server.highest != 2 {
			t.Errorf("%d evictions at once", server.highest)
		}
	})
}

func TestNodesTakeTurns(t *testing.T) {
	limiter := NewLimiter(1)
	hold, err := limiter.acquire(t.Context(), "first")
	if err != nil {
		t.Fatal(err)
	}
	slots := map[string]chan struct{}{}
	var order []string
	for _, name := range []string{"a1", "a2", "a3", "b1", "c1", "b2"} {
		slots[name] = limiter.enqueue(name[:1])
		order = append(order, name)
	}
	var got []string
	for release := hold; len(slots) > 0; release = limiter.release {
		release()
		for _, name := range order {
			select {
			case <-slots[name]: // nil blocks.
				got = append(got, name)
				delete(slots, name)
			default:
			}
		}
	}
	if want := []string{"a1", "b1", "c1", "a2", "b2", "a3"}; !slices.Equal(got, want) {
		t.Errorf("the order is %q, want %q", got, want)
	}
}

func TestCancelledEvictionFreesItsSlot(t *testing.T) {
	limiter := NewLimiter(1)
	release, err := limiter.acquire(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error)
	go func() {
		_, err := limiter.acquire(ctx, "b")
		ended <- err
	}()
	cause := errors.New("the lease is lost")
	cancel(cause)
	if err := <-ended; !errors.Is(err, cause) {
		t.Errorf("error is %v", err)
	}
	if _, err := limiter.acquire(ctx, "b"); !errors.Is(err, cause) {
		t.Errorf("after the end, error is %v", err)
	}
	// A slot that is granted at the moment of the end is returned.
	slot := limiter.enqueue("c")
	release()
	<-slot
	if limiter.abandon("c", slot) {
		t.Error("a slot was granted, and the eviction still waits")
	}
	limiter.release()
	if limiter.inFlight != 0 || len(limiter.queues) != 0 {
		t.Errorf("%d in flight, %d nodes wait", limiter.inFlight, len(limiter.queues))
	}
}
