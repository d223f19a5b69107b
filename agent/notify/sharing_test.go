package notify

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	ktesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// sending returns a notification of failures that the receiver gets.
func sending(name string, r *receiver) config.Notification {
	return config.Notification{
		Name: name, Plugin: "chat", Events: []cleanup.NotificationKind{cleanup.NotifyFailed}, NodeSelector: labels.Everything(),
		GroupWait: time.Second, RepeatInterval: 4 * time.Hour, Bound: r,
	}
}

// start runs a Notifier in a synctest bubble until the end of the test, or until stop is called.
func start(t *testing.T, client kubernetes.Interface, notifications ...config.Notification) (n *Notifier, stop func()) {
	settings := &config.Config{Notifications: notifications}
	n = New(Options{
		ConfigMaps: client.CoreV1().ConfigMaps("ns"), Namespace: "ns", Config: func() *config.Config { return settings },
		Redact: func(text string) string { return text }, Random: func() float64 { return 0 }, Metrics: &receiver{}, Fence: func() error { return nil },
		Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	synctest.Wait()
	return n, stop
}

// limited makes the client refuse a ConfigMap that is too large, as the API server does.
func limited(client interface {
	PrependReactor(verb, resource string, reaction ktesting.ReactionFunc)
}) {
	client.PrependReactor("*", "configmaps", func(action ktesting.Action) (bool, runtime.Object, error) {
		write, is := action.(interface{ GetObject() runtime.Object })
		if !is {
			return false, nil, nil
		}
		size, configMap := 0, write.GetObject().(*corev1.ConfigMap)
		for _, text := range configMap.Data {
			size += len(text)
		}
		for _, data := range configMap.BinaryData {
			size += len(data)
		}
		if size > corev1.MaxSecretSize {
			return true, nil, errors.New("Too long: may not be more than 1048576 bytes")
		}
		return false, nil, nil
	})
}

// A notification that was alone in the config can have filled the ConfigMap. If others are added, it stores less, so
// that they can be stored, too.
func TestAddedNotificationIsStored(t *testing.T) {
	settings := sending("first", &receiver{})
	settings.Events = []cleanup.NotificationKind{cleanup.NotifyBypassed}
	first := newBook(settings, nil)
	for nodes := range slices.Chunk(failures(5*maxNodes), maxNodes) {
		g := &group{Key: "first-" + string(nodes[0].uid), Began: time.Now(), Closed: time.Now(), Members: map[types.UID]*member{}}
		for _, o := range nodes {
			g.Members[o.uid] = &member{Node: o.node, Kinds: failed, Ended: true, Message: o.message}
		}
		first.groups = append(first.groups, g)
	}
	data, _, err := first.encode(time.Now(), maxStored)
	if err != nil || len(data) < maxStored*4/5 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	synctest.Test(t, func(t *testing.T) {
		client, second := newClient(), &receiver{}
		limited(client)
		filled := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: api.NotificationsName}, BinaryData: map[string][]byte{"first": data}}
		if _, err := client.CoreV1().ConfigMaps("ns").Create(t.Context(), filled, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		n, stop := start(t, client, settings, sending("second", second))
		defer stop()
		for _, o := range failures(2000) {
			n.take(o)
		}
		<-time.After(time.Minute)
		if calls := second.calls.Load(); calls != 2 {
			t.Errorf("%d messages about 2 groups were sent", calls)
		}
	})
}

// A user who fills the ConfigMap with other data does not prevent messages.
func TestOtherDataInTheStoreIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, r := newClient(), &receiver{}
		limited(client)
		filled := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: api.NotificationsName}, Data: map[string]string{"note": string(make([]byte, corev1.MaxSecretSize-10))}}
		if _, err := client.CoreV1().ConfigMaps("ns").Create(t.Context(), filled, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		n, stop := start(t, client, sending("ops", r))
		defer stop()
		n.take(failures(1)[0])
		<-time.After(30 * time.Second)
		if calls := r.calls.Load(); calls != 1 {
			t.Errorf("%d messages were sent", calls)
		}
	})
}

// If the store cannot be written, such as because of a quota, messages are sent all the same, and once.
func TestMessagesAreSentWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, r, refuse := newClient(), &receiver{}, atomic.Bool{}
		refuse.Store(true)
		for _, verb := range []string{"create", "update"} {
			client.PrependReactor(verb, "configmaps", func(ktesting.Action) (bool, runtime.Object, error) {
				if refuse.Load() {
					return true, nil, errors.New("exceeded quota")
				}
				return false, nil, nil
			})
		}
		n, stop := start(t, client, sending("ops", r))
		n.take(failures(1)[0])
		<-time.After(maxUnsaved - time.Second)
		if calls := r.calls.Load(); calls != 0 {
			t.Errorf("%d messages were sent before a next leader can know it", calls)
		}
		<-time.After(30 * time.Minute)
		if calls := r.calls.Load(); calls != 1 {
			t.Errorf("%d messages were sent in half an hour", calls)
		}
		refuse.Store(false)
		<-time.After(time.Minute)
		stop()
		_, stop = start(t, client, sending("ops", r)) // The next leader. The record does not exist any more.
		<-time.After(time.Minute)
		stop()
		if calls := r.calls.Load(); calls != 2 {
			t.Errorf("%d messages were sent, with the final one of the next leader", calls)
		}
	})
}
