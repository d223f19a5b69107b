package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// receiver is a service that gets notifications.
type receiver struct {
	*httptest.Server
	mutex    sync.Mutex
	received []cleanup.Notification
	// answer, unless it is nil, answers in place of the receiver; it returns false if the message does not
	// count as received.
	answer func(http.ResponseWriter, *http.Request, cleanup.Notification) bool
}

// startReceiver starts a receiver that answers with a reference.
func startReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		var notification cleanup.Notification
		if err := json.NewDecoder(request.Body).Decode(&notification); err != nil || request.Header.Get("Idempotency-Key") != notification.ID {
			t.Errorf("a message with the key %q and %v", request.Header.Get("Idempotency-Key"), err)
		}
		r.mutex.Lock()
		answer := r.answer
		r.mutex.Unlock()
		if answer != nil && !answer(writer, request, notification) {
			return
		}
		r.mutex.Lock()
		r.received = append(r.received, notification)
		r.mutex.Unlock()
		fmt.Fprintf(writer, `{"message": {"id": "of %s"}}`, notification.Key)
	}))
	t.Cleanup(r.Close)
	return r
}

// behave sets the answer.
func (r *receiver) behave(answer func(http.ResponseWriter, *http.Request, cleanup.Notification) bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.answer = answer
}

func (r *receiver) messages() []cleanup.Notification {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.received)
}

// awaitFinal waits until the newest message is the last one about its Nodes, and returns all messages.
func (f *fixture) awaitFinal(r *receiver) []cleanup.Notification {
	f.Helper()
	f.eventually("the final notification arrives", func(context.Context) (bool, error) {
		all := r.messages()
		return len(all) > 0 && all[len(all)-1].Final, nil
	})
	return r.messages()
}

// notified is a config with an empty step and a notification.
func notified(url, fields string) string {
	return fmt.Sprintf(`concurrency: {nodes: 20}
steps:
- {name: nothing, plugin: logger, critical: true}
notifications:
- name: ops
  plugin: http
  %s
  options: {url: %q, outputs: {reference: "{.message.id}"}}
`, fields, url)
}

// protectedNodes creates many Nodes that have our finalizer.
func (f *fixture) protectedNodes(number int) []*corev1.Node {
	f.Helper()
	nodes := make([]*corev1.Node, number)
	group, ctx := errgroup.WithContext(f.Context())
	group.SetLimit(50)
	for i := range nodes {
		group.Go(func() (err error) {
			node := cluster.MakeNode(fmt.Sprintf("worker-%03d", i), nil)
			node.Finalizers = []string{api.Finalizer}
			nodes[i], err = f.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		f.Fatal(err)
	}
	return nodes
}

// deleteAll deletes the Nodes as a user.
func (f *fixture) deleteAll(nodes []*corev1.Node) {
	f.Helper()
	group, ctx := errgroup.WithContext(f.Context())
	group.SetLimit(50)
	client := kubernetes.NewForConfigOrDie(shared.RESTConfig())
	for _, node := range nodes {
		group.Go(func() error { return client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}) })
	}
	if err := group.Wait(); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) awaitNoNodes() {
	f.Helper()
	f.eventually("every node is deleted", func(ctx context.Context) (bool, error) {
		list, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil && len(list.Items) == 0, err
	})
}

// Many deletions at once are one message, which is updated, with the number and the first names.
func TestManyDeletionsAreOneNotification(t *testing.T) {
	receiver := startReceiver(t)
	f := setUp(t, notified(receiver.URL, "events: [Started, Succeeded]\n  groupWait: 1s"))
	nodes := f.protectedNodes(500)
	f.start(f.options())
	f.deleteAll(nodes)
	f.awaitNoNodes()
	all := f.awaitFinal(receiver)
	for i, message := range all {
		if message.Key != all[0].Key || (message.Reference == "") != (i == 0) || i > 0 && message.Reference != "of "+message.Key {
			t.Errorf("message %d has key %s and reference %q", i, message.Key, message.Reference)
		}
	}
	last := all[len(all)-1]
	if last.Nodes != 500 || last.Title != "Cleanup of 500 nodes: 500 Succeeded" || len(last.Events[0].Names) != 10 || last.Events[0].Names[9] != "worker-009" ||
		!strings.Contains(last.Text, "worker-009 and 490 more") {
		t.Errorf("the final message is %+v", last)
	}
	if len(all) > 40 {
		t.Errorf("%d messages", len(all))
	}
}

// A receiver that hangs or fails delays no cleanup, and gets the message as soon as it works.
func TestBrokenReceiversDelayNoCleanup(t *testing.T) {
	for name, broken := range map[string]func(http.ResponseWriter, *http.Request){
		"hangs":       func(_ http.ResponseWriter, request *http.Request) { <-request.Context().Done() },
		"answers 500": func(writer http.ResponseWriter, _ *http.Request) { writer.WriteHeader(http.StatusInternalServerError) },
		"answers 429": func(writer http.ResponseWriter, _ *http.Request) {
			writer.Header().Set("Retry-After", "1")
			writer.WriteHeader(http.StatusTooManyRequests)
		},
	} {
		t.Run(name, func(t *testing.T) {
			receiver := startReceiver(t)
			tried := make(chan struct{})
			var once sync.Once
			receiver.behave(func(writer http.ResponseWriter, request *http.Request, _ cleanup.Notification) bool {
				once.Do(func() { close(tried) })
				broken(writer, request)
				return false
			})
			f := setUp(t, notified(receiver.URL, "events: [Succeeded]\n  groupWait: 10ms"))
			first, second := f.protected("first"), f.protected("second")
			f.start(f.options())
			f.delete(first)
			f.awaitDeleted(first)
			<-tried
			f.delete(second) // While the receiver has the first message.
			f.awaitDeleted(second)
			receiver.behave(nil)
			if name == "hangs" {
				receiver.CloseClientConnections() // Else the agent waits for its time limit.
			}
			all := f.awaitFinal(receiver)
			if last := all[len(all)-1]; last.Nodes != 2 || last.Title != "Cleanup of 2 nodes: 2 Succeeded" {
				t.Errorf("the final message is %+v", last)
			}
		})
	}
}

// The next leader continues the message of the one before, and begins no other.
func TestNextLeaderContinuesNotifications(t *testing.T) {
	receiver := startReceiver(t)
	f := setUp(t, strings.Replace(notified(receiver.URL, "events: [Started, Succeeded]\n  groupWait: 100ms"), "logger, critical: true", "probe, options: {do: wait}", 1))
	release := make(chan struct{})
	f.probes["wait"] = func(ctx context.Context, _ cleanup.Target) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-release:
			return nil
		}
	}
	stop := f.start(f.options())
	node, other := f.protected("worker"), f.protected("other")
	f.delete(node)
	f.eventually("the first notification arrives", func(context.Context) (bool, error) { return len(receiver.messages()) > 0, nil })
	stop()
	f.delete(other) // No agent watches.
	options := f.options()
	options.Identity = "next"
	f.start(options)
	f.eventually("the notification is updated", func(context.Context) (bool, error) {
		all := receiver.messages()
		return all[len(all)-1].Nodes == 2, nil
	})
	close(release)
	f.awaitDeleted(node)
	f.awaitDeleted(other)
	all := f.awaitFinal(receiver)
	for i, message := range all {
		if message.Key != all[0].Key || (message.Reference == "") != (i == 0) {
			t.Errorf("message %d of %d has key %s and reference %q: %s", i, len(all), message.Key, message.Reference, message.Title)
		}
	}
	if last := all[len(all)-1]; last.Title != "Cleanup of 2 nodes: 2 Succeeded" {
		t.Errorf("the final message is %+v", last)
	}
}

// A Node that failed is reported with its cause and the next step.
func TestNotificationsNameTheCause(t *testing.T) {
	receiver := startReceiver(t)
	f := setUp(t, strings.Replace(notified(receiver.URL, "groupWait: 10ms"), "logger, critical: true", "probe, retry: {maxRetries: 0}, options: {do: fail}", 1))
	f.probes["fail"] = func(context.Context, cleanup.Target) error { return fmt.Errorf("the storage is full") }
	f.start(f.options())
	f.delete(f.protected("worker"))
	f.awaitText(receiver, "Failed: critical step nothing failed, attempt 1: the storage is full\nNext: kubectl nodecleanup diagnose worker")
}

// A running agent could add the finalizer before the deletion. A Node that was deleted before that is reported by
// the next leader.
func TestNotificationsNameUnprotectedNodes(t *testing.T) {
	receiver := startReceiver(t)
	f := setUp(t, notified(receiver.URL, "groupWait: 10ms"))
	f.delete(f.create("naked", "example.com/other"))
	f.start(f.options())
	f.awaitText(receiver, "Cleanup of node naked: Unprotected\nUnprotected: The node was deleted before it had the finalizer")
}

// awaitText waits for a notification that contains the text.
func (f *fixture) awaitText(receiver *receiver, text string) {
	f.Helper()
	f.eventually("a notification says "+text, func(context.Context) (bool, error) {
		return slices.ContainsFunc(receiver.messages(), func(n cleanup.Notification) bool { return strings.Contains(n.Text, text) }), nil
	})
}
