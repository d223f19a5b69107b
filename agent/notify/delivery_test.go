package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// office is a running Notifier with one notification, on a fake clock.
type office struct {
	*testing.T
	*Notifier
	clock *clocktesting.FakeClock
	calls chan call
	logs  *strings.Builder

	mutex             sync.Mutex
	delivered, failed int
}

// call is a call of the plugin. The plugin returns what is sent to answer.
type call struct {
	cleanup.Notification
	ctx    context.Context
	answer chan error
}

// Notify implements cleanup.Notifier.
func (o *office) Notify(ctx context.Context, n cleanup.Notification) (string, error) {
	c := call{n, ctx, make(chan error)}
	o.calls <- c
	err := <-c.answer
	if err != nil && err.Error() == "panic" {
		panic(err)
	}
	return "", err
}

func (o *office) NotificationDelivered(string, string) { o.count(&o.delivered) }
func (o *office) NotificationFailed(string, string)    { o.count(&o.failed) }
func (o *office) NotificationDropped(string, string)   {}

func (o *office) count(number *int) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	*number++
}

func (o *office) Write(line []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.logs.Write(line)
}

func newOffice(t *testing.T) *office {
	o := &office{T: t, clock: clocktesting.NewFakeClock(zero), calls: make(chan call), logs: &strings.Builder{}}
	settings := &config.Config{Notifications: []config.Notification{{
		Name: "ops", Plugin: "chat", Events: cleanup.NotificationKinds(), NodeSelector: labels.Everything(), GroupWait: time.Second, RepeatInterval: time.Hour, Bound: o,
		Secrets: []cleanup.SecretKey{{Name: "chat", Key: "token"}},
	}}}
	o.Notifier = New(Options{
		ConfigMaps: newClient().CoreV1().ConfigMaps("ns"), Namespace: "ns", Config: func() *config.Config { return settings },
		Redact: func(text string) string { return strings.ReplaceAll(text, "hunter2", "[secret]") }, Random: func() float64 { return 0 }, Metrics: o, Fence: func() error { return nil },
		Clock: o.clock, Log: slog.New(slog.NewTextHandler(o, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	o.Prepare()
	go func() { ended <- o.Notifier.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return o
}

// next lets time pass until the plugin is called, and returns the call and how much has passed.
func (o *office) next() (call, time.Duration) {
	o.Helper()
	began := o.clock.Now()
	for range 100000 {
		select {
		case c := <-o.calls:
			return c, o.clock.Since(began)
		case <-time.After(time.Millisecond):
			o.clock.Step(250 * time.Millisecond)
		}
	}
	o.Fatal("the plugin is not called")
	return call{}, 0
}

func (o *office) fails() {
	o.RunSaved(&api.Run{Node: "n0", NodeUID: "u0", PlanHash: "p", State: api.Failed, Message: "storage is full"})
}

func TestFailedMessageIsRepeated(t *testing.T) {
	o := newOffice(t)
	o.fails()
	first, _ := o.next()
	first.answer <- errors.New("no such token: hunter2 " + strings.Repeat("x", 1<<20))
	second, after := o.next()
	if second.ID != first.ID || after < firstBackoff || after > 2*firstBackoff {
		t.Errorf("after %s: %s, first %s", after, second.ID, first.ID)
	}
	if err := o.Undelivered("ops"); err == nil || !strings.Contains(err.Error(), "not delivered, next try at 0") || !strings.Contains(err.Error(), "no such token: [secret]") {
		t.Errorf("after the first failure: %v", err)
	}
	if length := len(o.Undelivered("ops").Error()); length > 2*maxReason {
		t.Errorf("the error has %d bytes", length)
	}
	second.answer <- cleanup.RetryAfter(errors.New("429"), time.Minute)
	third, after := o.next()
	if after < time.Minute || after > 2*time.Minute {
		t.Errorf("after %s", after)
	}
	third.answer <- cleanup.Permanent(errors.New("401"))
	o.SecretWritten("other")
	o.SecretWritten("chat") // In place of a wait of an hour.
	fourth, after := o.next()
	if fourth.ID != first.ID || after > time.Minute {
		t.Errorf("after %s: %s", after, fourth.ID)
	}
	fourth.answer <- errors.New("panic")
	o.RunSaved(&api.Run{Node: "n0", NodeUID: "u0", PlanHash: "p", State: api.Succeeded})
	last, after := o.next() // Whether it was observed before the failure or after it.
	if last.Title != "Cleanup of node n0: Succeeded" || !last.Final || last.ID == first.ID || after > 5*time.Minute {
		t.Errorf("after %s, the last message is %+v", after, last.Notification)
	}
	last.answer <- nil
	for o.Undelivered("ops") != nil { // The sender handles the answer.
		<-time.After(time.Millisecond)
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if said := o.logs.String(); strings.Contains(said, "hunter2") || !strings.Contains(said, "[secret]") || !strings.Contains(said, "plugin panicked") {
		t.Errorf("the log is %s", said)
	}
	if o.failed != 4 {
		t.Errorf("%d failures are counted", o.failed)
	}
}

// A plugin that ignores its context is abandoned, and events are taken over all the same.
func TestHungPluginIsAbandoned(t *testing.T) {
	o := newOffice(t)
	o.fails()
	hung, _ := o.next()
	t.Cleanup(func() { close(hung.answer) })
	for range 2 * maxInbox {
		o.fails() // It returns at once.
	}
	again, _ := o.next()
	// Since the start of the test, because time passes until the test receives the first call.
	if after := o.clock.Since(zero); hung.ctx.Err() == nil || after < time.Second+timeout+cutOffAfter+retryHungAfter {
		t.Errorf("called again after %s, the first call has %v", after, hung.ctx.Err())
	}
	again.answer <- nil
}

func TestHungCallsDoNotAccumulate(t *testing.T) {
	o := newOffice(t)
	o.fails()
	var hung []call
	for range maxHung {
		one, _ := o.next()
		hung = append(hung, one)
	}
	t.Cleanup(func() {
		for _, one := range hung[1:] {
			close(one.answer)
		}
	})
	for err := o.Undelivered("ops"); err == nil || !strings.Contains(err.Error(), errTooManyHang.Error()); err = o.Undelivered("ops") {
		select {
		case <-o.calls:
			t.Fatal("the plugin is called although all earlier calls hang")
		case <-time.After(time.Millisecond):
			o.clock.Step(time.Second)
		}
	}
	hung[0].answer <- nil
	again, _ := o.next()
	again.answer <- nil
}

// Without a leadership, nothing is taken over: the next leader reads the run records.
func TestNothingIsKeptWithoutLeadership(t *testing.T) {
	n := New(Options{Config: func() *config.Config { return &config.Config{Notifications: make([]config.Notification, 1)} }, Clock: clocktesting.NewFakeClock(zero)})
	n.RunSaved(&api.Run{Node: "n0", NodeUID: "u0", State: api.Failed})
	n.Paused("reason")
	if len(n.inbox) > 0 || n.pause != nil {
		t.Errorf("the inbox has %d", len(n.inbox))
	}
	n.Prepare()
	for i := range maxInbox + 1 {
		n.RunSaved(&api.Run{Node: "n", NodeUID: types.UID(fmt.Sprint(i)), State: api.Failed})
	}
	if len(n.inbox) != maxInbox || !n.reread {
		t.Errorf("the inbox has %d, reread %t", len(n.inbox), n.reread)
	}
}
