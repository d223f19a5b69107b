package pagerduty

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

// bind returns a step with the options in addition to the routing key.
func (s *service) bind(t *testing.T, options string) cleanup.Plugin {
	t.Helper()
	plugin, faults := Descriptor(&http.Client{Transport: s}, plugintest.Secrets{"key": routingKey}).Bind([]byte("{" + byKey + options + "}"))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

// targetOf returns a Node with an annotation.
func targetOf(annotation string) cleanup.Target {
	return cleanup.Target{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-1", Annotations: map[string]string{"a": annotation}}},
		Step: "announce", Attempt: 1, IdempotencyKey: "uid-1/announce", DeletedBy: "jane", Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Log: slog.New(slog.DiscardHandler),
	}
}

func TestStepsTriggerAndResolveTheAlertOfTheNode(t *testing.T) {
	s, target := newService(t), targetOf("")
	for _, options := range []string{`,"event":"trigger","severity":"warning"`, `,"event":"trigger"`} {
		if err := s.bind(t, options).Cleanup(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	const key = "nodecleanup/uid-1"
	alerts := s.state().alerts
	one := alerts[key]
	if len(alerts) != 1 || !one.open || len(one.triggers) != 2 {
		t.Fatalf("%+v", alerts)
	}
	got := one.triggers[0].Payload
	if got.Summary != "Node n1 leaves the cluster" || got.Source != "n1" || got.Severity != "warning" || got.Timestamp != "2026-01-02T03:04:05Z" ||
		got.Details["deleted_by"] != "jane" || got.Details["idempotency_key"] != "uid-1/announce" || got.Details["uid"] != "uid-1" {
		t.Errorf("%+v", got)
	}
	if severity := one.triggers[1].Payload.Severity; severity != "error" {
		t.Error(severity)
	}
	// A new Node with the same name has its own alert.
	other := targetOf("")
	other.Node.UID = "uid-2"
	if err := s.bind(t, `,"event":"resolve"`).Cleanup(t.Context(), other); err != nil || !s.state().alerts[key].open {
		t.Errorf("another Node resolved the alert: %v", err)
	}
	for range 2 {
		if err := s.bind(t, `,"event":"resolve"`).Cleanup(t.Context(), target); err != nil || s.state().alerts[key].open {
			t.Errorf("the alert is not resolved: %v", err)
		}
	}
	if changes := s.state().changes; len(changes) != 0 {
		t.Errorf("%+v", changes)
	}
}

func TestAChangeEventGoesToTheURLAndNeedsNoKey(t *testing.T) {
	s := newService(t)
	step := s.bind(t, `,"url":"https://events.eu.pagerduty.com","summary":"${run.deletedBy} deleted ${node.name}","dedupKey":"${steps.absent.outputs.key}"`)
	if err := step.Cleanup(t.Context(), targetOf("")); err != nil {
		t.Fatal(err)
	}
	got := s.state()
	if len(got.changes) != 1 || got.changes[0].Payload.Summary != "jane deleted n1" || len(got.alerts) != 0 || !got.hosts["https://events.eu.pagerduty.com"] || len(got.hosts) != 1 {
		t.Errorf("%+v", got)
	}
}

// JSON writes "<" as six bytes, so the annotation has 1 MB there.
func TestALongSummaryAndSourceAreCut(t *testing.T) {
	for _, event := range []string{change, trigger} {
		s := newService(t)
		step := s.bind(t, `,"event":"`+event+`","summary":"ü\n${node.annotations['a']}","source":"${node.annotations['a']}"`)
		if err := step.Cleanup(t.Context(), targetOf(strings.Repeat("<", 170<<10))); err != nil {
			t.Fatalf("%s: %v", event, err)
		}
		sent := s.state().changes
		if event == trigger {
			sent = s.state().alerts["nodecleanup/uid-1"].triggers
		}
		summary := sent[0].Payload.Summary
		if utf8.RuneCountInString(summary) != 1024 || !strings.HasPrefix(summary, "ü <") || !strings.HasSuffix(summary, "<…") {
			t.Errorf("%s: %d characters", event, utf8.RuneCountInString(summary))
		}
	}
}

func TestADedupKeyIsNeverCut(t *testing.T) {
	for name, test := range map[string]struct {
		key  string
		says string
	}{
		"as long as possible": {strings.Repeat("ü", 255), ""},
		"too long":            {strings.Repeat("x", 256), "the dedupKey has 256 characters"},
		"empty":               {"", "the dedupKey has 0 characters"},
	} {
		for _, event := range []string{trigger, resolve} {
			s := newService(t)
			err := s.bind(t, `,"event":"`+event+`","dedupKey":"${node.annotations['a']}"`).Cleanup(t.Context(), targetOf(test.key))
			if test.says == "" {
				if err != nil || s.state().events != 1 {
					t.Errorf("%s, %s: %v", name, event, err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), test.says) || !cleanup.IsPermanent(err) || len(s.state().hosts) != 0 {
				t.Errorf("%s, %s: %v, calls %v", name, event, err, s.state().hosts)
			}
		}
	}
}

func TestErrorsOfPagerDuty(t *testing.T) {
	for name, test := range map[string]struct {
		status    int
		after     string
		body      string
		says      string
		permanent bool
		wait      time.Duration
	}{
		"invalid":         {400, "", `{"status":"invalid event","message":"Event object is invalid","errors":["Length of 'routing_key' is incorrect"]}`, "400 Bad Request: Event object is invalid: Length of 'routing_key' is incorrect", true, 0},
		"too large":       {413, "", "too large", "413 Request Entity Too Large: too large", true, 0},
		"redirect":        {302, "", "", "302", true, 0},
		"limited":         {429, "30", "", "429", false, 30 * time.Second},
		"limited, silent": {429, "", "", "429", false, 2 * time.Minute},
		"down":            {503, "7", routingKey, "503 Service Unavailable: [secret]", false, 7 * time.Second},
		"broken":          {500, "", "", "500", false, 0},
		"a proxy":         {200, "", "<html>", "a proxy may have answered", false, 0},
	} {
		for _, event := range []string{change, trigger, resolve} {
			s := newService(t)
			s.Failing(t, test.status, test.after, test.body)
			err := s.bind(t, `,"event":"`+event+`"`).Cleanup(t.Context(), targetOf(""))
			wait, _ := cleanup.RetryDelay(err)
			if err == nil || !strings.Contains(err.Error(), test.says) || cleanup.IsPermanent(err) != test.permanent || wait != test.wait {
				t.Errorf("%s, %s: %v, permanent %t, after %s", name, event, err, cleanup.IsPermanent(err), wait)
			}
		}
	}
}

func TestTheRoutingKeyIsReadForEachEvent(t *testing.T) {
	s, values := newService(t), plugintest.Secrets{"key": "short"}
	plugin, faults := Descriptor(&http.Client{Transport: s}, values).Bind([]byte("{" + byKey + "}"))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	// It is not permanent, because the Secret can be changed.
	err := plugin.Cleanup(t.Context(), targetOf(""))
	if err == nil || err.Error() != "reading the routing key: it has 5 characters, but an integration key has 32" || cleanup.IsPermanent(err) || s.state().events != 0 {
		t.Errorf("%v, %d events", err, s.state().events)
	}
	values["key"] = routingKey
	if err := plugin.Cleanup(t.Context(), targetOf("")); err != nil || s.state().events != 1 {
		t.Errorf("%v, %d events", err, s.state().events)
	}
}

func TestPreviewAndHealthCheckSendNothing(t *testing.T) {
	for event, reason := range map[string]string{
		change:  "hands over a change event: Node n1 leaves the cluster",
		trigger: "hands over the alert nodecleanup/uid-1: Node n1 leaves the cluster",
		resolve: "hands over the resolution of the alert nodecleanup/uid-1",
	} {
		s := newService(t)
		step := s.bind(t, `,"event":"`+event+`"`)
		effects, err := step.(cleanup.Previewer).Preview(t.Context(), targetOf(""))
		if err != nil || len(effects) != 1 || effects[0].Reason != reason || effects[0].Object.Name != "https://events.pagerduty.com" {
			t.Errorf("%s: %+v, %v", event, effects, err)
		}
		if err := step.(cleanup.HealthChecker).CheckHealth(t.Context()); err != nil || len(s.state().hosts) != 0 {
			t.Errorf("%s: %v, calls %v", event, err, s.state().hosts)
		}
	}
}
