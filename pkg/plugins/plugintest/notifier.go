package plugintest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// NotifierSuite describes a plugin that is a Notifier, and how to create each situation. Descriptor and
// Options are required.
type NotifierSuite struct {
	// Descriptor of the plugin, made with dependencies that work.
	Descriptor cleanup.Descriptor
	// Options of a notification, as JSON.
	Options string
	// Messages counts the messages that the other system has, without those that replaced another one. It is
	// nil if they are not visible.
	Messages func(t *testing.T) int
	// Hang makes Notify wait until the test ends. It returns a channel that is closed when the plugin waits. It
	// is nil if the plugin never waits.
	Hang func(t *testing.T) (waiting <-chan struct{})
	// Break, Refuse and Throttle are those of Suite.
	Break, Refuse func(t *testing.T)
	Throttle      func(t *testing.T) time.Duration
	// Canary is part of every secret of the plugin, and must not appear in its output.
	Canary string
}

// RunNotifier tests that a Notifier fulfills its contract.
func RunNotifier(t *testing.T, s NotifierSuite) {
	t.Run("sends messages", s.sends)
	t.Run("returns soon when it is cancelled", s.stops)
	failures{s.Break, s.Refuse, s.Throttle, func(t *testing.T, _ string) func() error {
		return func() error {
			output := &recorded{}
			reference, err := s.bind(t).Notify(t.Context(), message(output, "1", ""))
			s.check(t, output, err, reference)
			return err
		}
	}}.run(t)
}

func (s NotifierSuite) bind(t *testing.T) cleanup.Notifier {
	t.Helper()
	if s.Descriptor.BindNotifier == nil {
		t.Fatalf("plugin %s has no BindNotifier", s.Descriptor.Name)
	}
	notifier, faults := s.Descriptor.BindNotifier([]byte(s.Options))
	if len(faults) > 0 {
		t.Fatalf("binding options %s: %v", s.Options, faults)
	}
	return notifier
}

// sends sends the messages of a group: the first one, an update after a change of the leader, and the last one.
func (s NotifierSuite) sends(t *testing.T) {
	s.bind(t)
	if _, faults := s.Descriptor.BindNotifier([]byte(`{"noSuchOption":1}`)); len(faults) == 0 {
		t.Error("an unknown option was accepted")
	}
	before := s.messages(t)
	reference := ""
	for i, change := range []func(*cleanup.Notification){
		func(*cleanup.Notification) {},
		func(n *cleanup.Notification) { n.Events[0].New = 0 },
		func(n *cleanup.Notification) {
			n.Final, n.Open, n.Title, n.Text = true, false, "Cleanup of 12 nodes: 12 Succeeded", "Cleanup of 12 nodes: 12 Succeeded"
			n.Events = []cleanup.NotificationEvent{{Kind: cleanup.NotifySucceeded, Nodes: 12, New: 12, Names: names()}}
		},
	} {
		output := &recorded{}
		notification := message(output, fmt.Sprintf("%d", i+1), reference)
		change(&notification)
		got, err := s.bind(t).Notify(t.Context(), notification)
		s.check(t, output, err, got)
		if err != nil {
			t.Fatalf("message %d: %v", i+1, err)
		}
		if len(got) > cleanup.MaxNotificationReference {
			t.Errorf("the reference has %d bytes, the maximum is %d", len(got), cleanup.MaxNotificationReference)
		}
		if i > 0 && (got == "") != (reference == "") {
			t.Errorf("the reference of message %d is %q, and was %q before", i+1, got, reference)
		}
		reference = got
	}
	if s.Messages == nil {
		return
	}
	want := 3
	if reference != "" {
		want = 1
	}
	if sent := s.messages(t) - before; sent != want {
		t.Errorf("%d messages were sent, want %d with the reference %q", sent, want, reference)
	}
}

func (s NotifierSuite) stops(t *testing.T) {
	if s.Hang == nil {
		t.Skip("the plugin never waits")
	}
	waiting := s.Hang(t)
	output, notifier := &recorded{}, s.bind(t)
	err := canceled(t, waiting, func(ctx context.Context) error {
		_, err := notifier.Notify(ctx, message(output, "1", ""))
		return err
	})
	s.check(t, output, err)
	if err == nil || cleanup.IsPermanent(err) {
		t.Errorf("after it was cancelled, the plugin returns %v", err)
	}
}

func (s NotifierSuite) messages(t *testing.T) int {
	if s.Messages == nil {
		return 0
	}
	return s.Messages(t)
}

// check fails the test if the output contains a secret.
func (s NotifierSuite) check(t *testing.T, output *recorded, err error, lines ...string) {
	t.Helper()
	said := output.String() + strings.Join(lines, "\n")
	if err != nil {
		said += err.Error()
	}
	if s.Canary != "" && strings.Contains(said, s.Canary) {
		t.Errorf("the plugin gave a secret away: %s", said)
	}
}

// message returns a message about twelve nodes, two of which failed.
func message(output *recorded, id, reference string) cleanup.Notification {
	const key = "conformance"
	text := "Cleanup of 12 nodes: 2 Failed, 10 Started\nFailed: node-00, node-01 (node-00: critical step drain failed: <b>&\"quoted\"</b>)"
	title, _, _ := strings.Cut(text, "\n")
	return cleanup.Notification{
		Name: key, Key: key, ID: key + "/" + id, Reference: reference, Open: true, Began: time.Now(), Nodes: 12, DeletedBy: "jane@example.com",
		Events: []cleanup.NotificationEvent{
			{Kind: cleanup.NotifyFailed, Nodes: 2, New: 2, Names: names()[:2], Message: "critical step drain failed: <b>&\"quoted\"</b>"},
			{Kind: cleanup.NotifyStarted, Nodes: 10, Names: names()},
		},
		Title: title, Text: text,
		Log: slog.New(slog.NewTextHandler(output, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func names() []string {
	var names []string
	for i := range cleanup.MaxNotificationNames {
		names = append(names, fmt.Sprintf("node-%02d", i))
	}
	return names
}

// recorded is the log of one call.
type recorded struct {
	mutex sync.Mutex
	text  strings.Builder
}

// Write implements io.Writer.
func (r *recorded) Write(text []byte) (int, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.text.Write(text)
}

func (r *recorded) String() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.text.String()
}
