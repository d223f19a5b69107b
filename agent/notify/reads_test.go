package notify

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// receiver counts calls, and returns a reference.
type receiver struct {
	reference string
	calls     atomic.Int64
	// previous is the reference of the newest call.
	previous atomic.Value
}

func (r *receiver) Notify(_ context.Context, n cleanup.Notification) (string, error) {
	r.calls.Add(1)
	r.previous.Store(n.Reference)
	return r.reference, nil
}

func (*receiver) NotificationDelivered(string, string) {}
func (*receiver) NotificationFailed(string, string)    {}
func (*receiver) NotificationDropped(string, string)   {}

// newClient returns a fake client that sets resource versions, as the API server does.
func newClient() *fake.Clientset {
	client, version := fake.NewClientset(), atomic.Int64{}
	client.PrependReactor("*", "configmaps", func(action ktesting.Action) (bool, runtime.Object, error) {
		if write, is := action.(interface{ GetObject() runtime.Object }); is {
			write.GetObject().(*corev1.ConfigMap).ResourceVersion = strconv.FormatInt(version.Add(1), 10)
		}
		return false, nil, nil
	})
	return client
}

// during runs a Notifier in a synctest bubble while events arrive, one each interval. It returns how often
// the verb was called, which always fails.
func during(t *testing.T, r *receiver, verb string, interval, total time.Duration) int64 {
	client, calls := newClient(), atomic.Int64{}
	if verb != "" {
		client.PrependReactor(verb, "configmaps", func(ktesting.Action) (bool, runtime.Object, error) {
			calls.Add(1)
			return true, nil, errors.New("the API server is overloaded")
		})
	}
	settings := &config.Config{Notifications: []config.Notification{{
		Name: "ops", Plugin: "chat", Events: cleanup.NotificationKinds(), NodeSelector: labels.Everything(), GroupWait: time.Second, RepeatInterval: time.Hour, Bound: r,
	}}}
	n := New(Options{
		ConfigMaps: client.CoreV1().ConfigMaps("ns"), Namespace: "ns", Config: func() *config.Config { return settings },
		Redact: func(text string) string {
			if text == "Bearer hunter2" {
				return "[secret]"
			}
			return text
		},
		Random: func() float64 { return 0 }, Metrics: r, Fence: func() error { return nil }, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	for i := range int(total / interval) {
		<-time.After(interval)
		n.take(observation{uid: "u", node: "n", kinds: started | kinds(i%2)*failed})
		synctest.Wait()
	}
	cancel()
	<-done
	return calls.Load()
}

// While the API server refuses requests, events do not add to them, and do not delay the next try.
func TestEventsDoNotChangeRetriesOfRequests(t *testing.T) {
	for name, test := range map[string]struct {
		verb            string
		interval, total time.Duration
		least, most     int64
	}{
		"reading the store, many events":   {"get", 10 * time.Millisecond, 10 * time.Second, 1, 2},
		"reading the store, few events":    {"get", 5 * time.Second, 10 * time.Minute, 50, 61},
		"reading the records, many events": {"list", 10 * time.Millisecond, 10 * time.Second, 1, 2},
		"reading the records, few events":  {"list", 5 * time.Second, 10 * time.Minute, 50, 61},
		"writing the store, many events":   {"create", 10 * time.Millisecond, 10 * time.Second, 1, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if calls := during(t, &receiver{}, test.verb, test.interval, test.total); calls < test.least || calls > test.most {
					t.Errorf("%d requests, want %d to %d", calls, test.least, test.most)
				}
			})
		})
	}
}

// A receiver that returns the header Authorization as its reference does not get it stored.
func TestReferenceWithASecretIsIgnored(t *testing.T) {
	for reference, want := range map[string]string{"Bearer hunter2": "", "17": "17"} {
		synctest.Test(t, func(t *testing.T) {
			r := &receiver{reference: reference}
			during(t, r, "", 10*time.Second, 5*time.Minute)
			if got := r.previous.Load(); r.calls.Load() < 2 || got != want {
				t.Errorf("%d calls, the reference is %q, want %q", r.calls.Load(), got, want)
			}
		})
	}
}

// What was observed just before a change of the config is not lost if the store cannot be written then: an
// unprotected deletion is in no run record.
func TestAChangeOfTheConfigWaitsForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client, refuse := &receiver{}, newClient(), atomic.Bool{}
		for _, verb := range []string{"create", "update"} {
			client.PrependReactor(verb, "configmaps", func(ktesting.Action) (bool, runtime.Object, error) {
				if refuse.Load() {
					return true, nil, errors.New("the API server is overloaded")
				}
				return false, nil, nil
			})
		}
		settings := &config.Config{Notifications: []config.Notification{{
			Name: "ops", Plugin: "chat", Events: cleanup.NotificationKinds(), NodeSelector: labels.Everything(), GroupWait: time.Minute, RepeatInterval: time.Hour, Bound: r,
		}}}
		n := New(Options{
			ConfigMaps: client.CoreV1().ConfigMaps("ns"), Namespace: "ns", Config: func() *config.Config { return settings },
			Redact: func(text string) string { return text }, Random: func() float64 { return 0 }, Metrics: r, Fence: func() error { return nil },
			Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		n.Prepare()
		go func() {
			defer close(done)
			if err := n.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		refuse.Store(true)
		n.Unprotected(&metav1.ObjectMeta{Name: "gone", UID: "u"}, "it had no finalizer")
		n.ConfigChanged()
		<-time.After(20 * time.Second)
		refuse.Store(false)
		<-time.After(5 * time.Minute)
		if calls := r.calls.Load(); calls != 1 {
			t.Errorf("%d messages were sent about the deletion", calls)
		}
		cancel()
		<-done
	})
}
