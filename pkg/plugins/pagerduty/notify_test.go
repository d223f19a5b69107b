package pagerduty

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// group sends the messages of one group, as the agent does.
type group struct {
	*service
	notifier  cleanup.Notifier
	reference string
}

func newGroup(t *testing.T) *group {
	s := newService(t)
	notifier, faults := Descriptor(&http.Client{Transport: s}, plugintest.Secrets{"key": routingKey}).BindNotifier([]byte("{" + byKey + "}"))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return &group{service: s, notifier: notifier}
}

// about returns an event of one Node that the last message did or did not have.
func about(kind cleanup.NotificationKind, added int) cleanup.NotificationEvent {
	return cleanup.NotificationEvent{Kind: kind, Nodes: 1, New: added, Names: []string{"n1"}}
}

// notify sends a message, and checks the reference and what PagerDuty has afterwards: the number of change events, of
// triggers, and whether the alert is open.
func (g *group) notify(t *testing.T, notification cleanup.Notification, reference string, changes, triggers int, open bool) {
	t.Helper()
	notification.Name, notification.Key, notification.Reference, notification.Nodes = "on-call", "on-call/7", g.reference, 1
	notification.Began, notification.Log = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), slog.New(slog.DiscardHandler)
	if notification.Title == "" {
		notification.Title, notification.Text = "Cleanup of n1", "Cleanup of n1\nmore"
	}
	got, err := g.notifier.Notify(t.Context(), notification)
	if err != nil {
		t.Fatal(err)
	}
	g.reference = got
	state := g.state()
	one := state.alerts["on-call/7"]
	if got != reference || len(state.changes) != changes || len(one.triggers) != triggers || one.open != open || len(state.alerts) > 1 {
		t.Fatalf("reference %s, %d change events, %d triggers, open %t", got, len(state.changes), len(one.triggers), one.open)
	}
}

type (
	events       = []cleanup.NotificationEvent
	notification = cleanup.Notification
)

func TestANotificationOpensAnAlertWhileAnOperatorIsNeeded(t *testing.T) {
	g := newGroup(t)
	started, failed := about(cleanup.NotifyStarted, 1), about(cleanup.NotifyFailed, 1)
	g.notify(t, notification{Events: events{started}}, changed, 1, 0, false)
	g.notify(t, notification{Events: events{about(cleanup.NotifyStarted, 2)}}, changed, 1, 0, false)
	g.notify(t, notification{Events: events{failed}, Open: true}, alerted, 1, 1, true)
	g.notify(t, notification{Events: events{about(cleanup.NotifyFailed, 0), started}, Open: true}, alerted, 1, 1, true)
	g.notify(t, notification{Events: events{about(cleanup.NotifyFailed, 0)}, Open: true, Repeat: true}, alerted, 1, 2, true)
	g.notify(t, notification{Events: events{failed, about(cleanup.NotifyBlocked, 1)}, Open: true}, alerted, 1, 3, true)
	g.notify(t, notification{Events: events{about(cleanup.NotifyStarted, 0)}}, changed, 1, 3, false)
	// PagerDuty opens a new alert for the key of a resolved one.
	g.notify(t, notification{Events: events{failed}, Open: true}, alerted, 1, 1, true)
	g.notify(t, notification{Events: events{about(cleanup.NotifySucceeded, 1)}, Final: true}, changed, 1, 1, false)
	if got := g.state().alerts["on-call/7"].triggers[0].Payload; got.Summary != "Cleanup of n1" || got.Source != "nodecleanup" || got.Severity != "error" ||
		got.Details["text"] != "Cleanup of n1\nmore" || got.Details["status"] != "Open" || got.Timestamp != "2026-01-02T03:04:05Z" {
		t.Errorf("%+v", got)
	}
}

func TestANotificationWithoutAlertSendsItsBeginningAndItsEnd(t *testing.T) {
	g := newGroup(t)
	g.notify(t, notification{Events: events{about(cleanup.NotifyStarted, 1)}}, changed, 1, 0, false)
	g.notify(t, notification{Events: events{about(cleanup.NotifyBypassed, 1)}}, changed, 1, 0, false)
	g.notify(t, notification{Events: events{about(cleanup.NotifyBypassed, 0)}, Final: true}, changed, 2, 0, false)
}

func TestAnUnprotectedNodeKeepsItsAlert(t *testing.T) {
	g := newGroup(t)
	g.notify(t, notification{Events: events{about(cleanup.NotifyUnprotected, 1)}, Final: true}, alerted, 0, 1, true)

	g = newGroup(t)
	g.notify(t, notification{Events: events{about(cleanup.NotifyFailed, 1)}, Open: true}, alerted, 0, 1, true)
	g.notify(t, notification{Events: events{about(cleanup.NotifyUnprotected, 1), about(cleanup.NotifyFailed, 0)}, Open: true}, alerted, 0, 2, true)
	g.notify(t, notification{Events: events{about(cleanup.NotifyUnprotected, 0), about(cleanup.NotifySucceeded, 1)}, Final: true}, alerted, 0, 2, true)
}

func TestADryRunOpensNoAlert(t *testing.T) {
	g := newGroup(t)
	g.notify(t, notification{Events: events{about(cleanup.NotifyFailed, 1)}, Open: true, DryRun: true}, changed, 1, 0, false)
	g.notify(t, notification{Events: events{about(cleanup.NotifyUnprotected, 1)}, Final: true, DryRun: true}, changed, 2, 0, false)
}

// A Notification has at most about 32 KiB of text, and JSON writes "<" as six bytes.
func TestTheLongestNotificationIsAccepted(t *testing.T) {
	long := strings.Repeat("<", 32<<10)
	g := newGroup(t)
	g.notify(t, notification{Events: events{about(cleanup.NotifyFailed, 1)}, Open: true, Title: long, Text: long}, alerted, 0, 1, true)
	g.notify(t, notification{Events: events{about(cleanup.NotifySucceeded, 1)}, Final: true, Title: long, Text: long}, changed, 0, 1, false)
}

func TestANotificationThatPagerDutyRefusesIsSentAgain(t *testing.T) {
	g := newGroup(t)
	t.Run("limited", func(t *testing.T) {
		g.Failing(t, http.StatusTooManyRequests, "30", "")
		reference, err := g.notifier.Notify(t.Context(), notification{Key: "on-call/7", Title: "x", Open: true, Events: events{about(cleanup.NotifyFailed, 1)}})
		if wait, _ := cleanup.RetryDelay(err); err == nil || wait != 30*time.Second || cleanup.IsPermanent(err) {
			t.Errorf("%q, %v", reference, err)
		}
	})
	g.notify(t, notification{Events: events{about(cleanup.NotifyFailed, 1)}, Open: true}, alerted, 0, 1, true)
	t.Run("not resolved", func(t *testing.T) {
		g.Failing(t, http.StatusServiceUnavailable, "", "")
		if _, err := g.notifier.Notify(t.Context(), notification{Key: "on-call/7", Reference: g.reference, Title: "x", Final: true}); err == nil || cleanup.IsPermanent(err) {
			t.Error(err)
		}
	})
	g.notify(t, notification{Events: events{about(cleanup.NotifySucceeded, 1)}, Final: true}, changed, 0, 1, false)
}
