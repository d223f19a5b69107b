package slack

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func stored() plugintest.Secrets {
	return plugintest.Secrets{"token": token, "url": "https://hooks.slack.com" + hook}
}

const (
	byToken = `"token":{"secretKeyRef":{"name":"slack","key":"token"}},"channel":"` + channel + `"`
	byHook  = `"webhookURL":{"secretKeyRef":{"name":"slack","key":"url"}}`
)

func (w *workspace) bind(t *testing.T, options string) cleanup.Plugin {
	t.Helper()
	plugin, faults := Descriptor(&http.Client{Transport: w}, stored()).Bind([]byte("{" + options + "}"))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

func targetOf(step string, outputs map[string]map[string]string) (cleanup.Target, map[string]string) {
	recorded := map[string]string{}
	return cleanup.Target{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"team": "<!channel> & co"}}},
		Step: step, Attempt: 1, Outputs: outputs, Log: slog.New(slog.DiscardHandler),
		Recorded: func(name, value string) error { recorded[name] = value; return nil },
	}, recorded
}

func TestAStepPostsThenRepliesThenReplaces(t *testing.T) {
	w := newWorkspace(t)
	target, outputs := targetOf("announce", nil)
	if err := w.bind(t, byToken+`,"message":"${node.name} of ${node.labels['team']}"`).Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	earlier := map[string]map[string]string{"announce": outputs}
	reply, _ := targetOf("reply", earlier)
	if err := w.bind(t, byToken+`,"message":"drained","thread":"${steps.announce.outputs.ts}"`).Cleanup(t.Context(), reply); err != nil {
		t.Fatal(err)
	}
	end, _ := targetOf("end", earlier)
	if err := w.bind(t, byToken+`,"message":"gone","replace":"${steps.announce.outputs.ts}"`).Cleanup(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	messages := w.messages()
	if len(messages) != 2 || messages[0].Text != "gone" || messages[0].updates != 1 || messages[1].Thread != messages[0].TS {
		t.Fatalf("%+v", messages)
	}
}

func TestALabelCannotMentionAChannel(t *testing.T) {
	w := newWorkspace(t)
	target, _ := targetOf("a", nil)
	if err := w.bind(t, byHook+`,"message":"${node.labels['team']}"`).Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if text := w.messages()[0].Blocks[0].Text; text.Text != "&lt;!channel&gt; &amp; co" || !text.Verbatim {
		t.Error(text)
	}
}

func TestARetryReplacesTheMessageOfTheFirstAttempt(t *testing.T) {
	w := newWorkspace(t)
	plugin := w.bind(t, byToken)
	target, outputs := targetOf("a", nil)
	if err := plugin.Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	again, _ := targetOf("a", map[string]map[string]string{"a": outputs})
	if err := plugin.Cleanup(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if messages := w.messages(); len(messages) != 1 || messages[0].updates != 1 {
		t.Errorf("%+v", messages)
	}
	// The message was deleted in the meantime.
	gone, outputs := targetOf("a", map[string]map[string]string{"a": {"ts": "1600000000.000001"}})
	if err := plugin.Cleanup(t.Context(), gone); err != nil || outputs["ts"] == "1600000000.000001" {
		t.Errorf("%v, %v", outputs, err)
	}
}

func TestErrorsOfSlack(t *testing.T) {
	text := func(status int, body string) http.HandlerFunc {
		return func(writer http.ResponseWriter, _ *http.Request) {
			writer.Header().Set("Retry-After", "30")
			writer.WriteHeader(status)
			fmt.Fprint(writer, body)
		}
	}
	for name, test := range map[string]struct {
		options   string
		answer    http.HandlerFunc
		says      string
		permanent bool
		after     time.Duration
	}{
		"webhook removed":       {byHook, text(404, "no_service"), "Slack answers no_service: the incoming webhook was removed", true, 0},
		"webhook invalid":       {byHook, text(400, "invalid_payload"), "Slack answers invalid_payload", true, 0},
		"channel archived":      {byHook, text(410, "channel_is_archived"), "the channel is archived", true, 0},
		"webhook limited":       {byHook, text(429, `{"retry_after":30,"ok":false,"error":"rate_limited"}`), "429", false, 30 * time.Second},
		"webhook limited, text": {byHook, text(429, "rate_limited"), "rate_limited", false, 30 * time.Second},
		"webhook down":          {byHook, text(503, "canary-82"), "503", false, 30 * time.Second},
		"rolled up":             {byHook, text(500, "rollup_error"), "rollup_error", false, 0},
		"a proxy":               {byHook, text(200, "<html>"), `without "ok"`, false, 0},
		"not in channel":        {byToken, text(200, `{"ok":false,"error":"not_in_channel"}`), "Slack answers not_in_channel: invite the bot to the channel", true, 0},
		"internal":              {byToken, text(200, `{"ok":false,"error":"internal_error"}`), "internal_error", false, 0},
		"unknown":               {byToken, text(200, `{"ok":false,"error":"new_error"}`), "new_error", false, 0},
		"limited":               {byToken, text(429, `{"ok":false,"error":"ratelimited"}`), "429", false, 30 * time.Second},
		"not JSON":              {byToken, text(200, "<html>"), "the answer is not from Slack", false, 0},
		"redirect":              {byToken, text(302, ""), "302", true, 0},
	} {
		w := newWorkspace(t)
		w.Answering(t, test.answer)
		target, _ := targetOf("a", nil)
		err := w.bind(t, test.options).Cleanup(t.Context(), target)
		after, _ := cleanup.RetryDelay(err)
		if err == nil || !strings.Contains(err.Error(), test.says) || cleanup.IsPermanent(err) != test.permanent || after != test.after {
			t.Errorf("%s: %v, permanent %t, after %s", name, err, cleanup.IsPermanent(err), after)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error has a secret: %v", name, err)
		}
	}
}

func TestLongTextsFitIntoTheLimits(t *testing.T) {
	w := newWorkspace(t)
	target, _ := targetOf("a", nil)
	for name, text := range map[string]string{
		"one line":   strings.Repeat("ä", 20_000),
		"many lines": strings.Repeat(strings.Repeat("x", 99)+"\n", 300),
		"escaped":    strings.Repeat("&", 5_000),
	} {
		options := byToken + fmt.Sprintf(`,"message":%q`, "${node.labels['text']}")
		target.Node.Labels = map[string]string{"text": text}
		if err := w.bind(t, options).Cleanup(t.Context(), target); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, message := range w.messages() {
		if last := message.Blocks[len(message.Blocks)-1].Text.Text; !strings.HasSuffix(last, "…") {
			t.Errorf("nothing says that the text continues: %.20s…%s", last, last[len(last)-20:])
		}
	}
}

func (w *workspace) notifier(t *testing.T, options string) cleanup.Notifier {
	t.Helper()
	notifier, faults := Descriptor(&http.Client{Transport: w}, stored()).BindNotifier([]byte("{" + options + "}"))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return notifier
}

func notification(reference string, events ...cleanup.NotificationEvent) cleanup.Notification {
	return cleanup.Notification{
		Name: "ops", Key: "k", ID: "k/1", Reference: reference, Nodes: 2, Events: events, Title: "Cleanup of 2 nodes", Text: "Cleanup of 2 nodes\nStarted: a, b",
		Log: slog.New(slog.DiscardHandler),
	}
}

func TestANotificationIsReplacedAndAlertsInItsThread(t *testing.T) {
	w := newWorkspace(t)
	notifier := w.notifier(t, byToken)
	reference, err := notifier.Notify(t.Context(), notification("", cleanup.NotificationEvent{Kind: cleanup.NotifyStarted, Nodes: 2, New: 2}))
	if err != nil || reference == "" {
		t.Fatal(reference, err)
	}
	for _, step := range []struct {
		notification cleanup.Notification
		messages     int
	}{
		{notification(reference, cleanup.NotificationEvent{Kind: cleanup.NotifySucceeded, Nodes: 1, New: 1}), 1},
		{notification(reference, cleanup.NotificationEvent{Kind: cleanup.NotifyFailed, Nodes: 1, New: 1}), 2},
		{notification(reference, cleanup.NotificationEvent{Kind: cleanup.NotifyFailed, Nodes: 1}), 2},
		{cleanup.Notification{Key: "k", Reference: reference, Repeat: true, Title: "Still", Text: "Still", Log: slog.New(slog.DiscardHandler)}, 3},
	} {
		if same, err := notifier.Notify(t.Context(), step.notification); err != nil || same != reference {
			t.Fatal(same, err)
		}
		if messages := w.messages(); len(messages) != step.messages {
			t.Errorf("there are %d messages, want %d: %+v", len(messages), step.messages, messages)
		}
	}
	messages := w.messages()
	if messages[0].updates != 4 || messages[1].Thread != reference || messages[2].Thread != reference {
		t.Errorf("%+v", messages)
	}
	if reference, err := w.notifier(t, byHook).Notify(t.Context(), notification("")); reference != "" || err != nil {
		t.Errorf("by the webhook: %q, %v", reference, err)
	}
}

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{
		``:                         "webhookURL: set webhookURL, or token and channel",
		byHook + `,` + byToken:     "token: cannot be combined with webhookURL",
		`"webhookURL":"https://a"`: "webhookURL: must be in a Secret",
		`"token":{"secretKeyRef":{"name":"a","key":"b"}},"channel":"#ops"`: "channel: must be the ID of a channel",
		byHook + `,"channel":"C0123456789"`:                                "channel: needs the option token",
		byHook + `,"thread":"1"`:                                           "thread: needs the option token",
		byToken + `,"thread":"1","replace":"1"`:                            "replace: cannot be combined with thread",
		byToken + `,"message":""`:                                          "message: must not be empty",
	} {
		_, faults := Descriptor(nil, nil).Bind([]byte("{" + options + "}"))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
	if _, faults := Descriptor(nil, nil).BindNotifier([]byte("{" + byToken + `,"thread":"1"}`)); len(faults) != 1 || !strings.Contains(faults[0].Error(), "thread: applies only to steps") {
		t.Error(faults)
	}
}

// destinations are the options by what sends the messages, and refusals what Slack answers for an archived
// channel.
var (
	destinations = map[string]string{"token": byToken, "webhook": byHook}
	refusals     = map[string]string{"token": `{"ok":false,"error":"is_archived"}`, "webhook": "channel_is_archived"}
)

func TestNotifierConformance(t *testing.T) {
	for name, options := range destinations {
		t.Run(name, func(t *testing.T) {
			w := newWorkspace(t)
			plugintest.RunNotifier(t, plugintest.NotifierSuite{
				Descriptor: Descriptor(&http.Client{Transport: w}, stored()),
				Options:    "{" + options + "}",
				Messages:   func(*testing.T) int { return len(w.messages()) },
				Hang:       w.Hang,
				Break:      func(t *testing.T) { w.Failing(t, http.StatusInternalServerError, "7", "canary") },
				Refuse:     func(t *testing.T) { w.Failing(t, http.StatusOK, "7", refusals[name]) },
				Throttle:   w.Throttle,
				Canary:     "canary",
			})
		})
	}
}

func TestConformance(t *testing.T) {
	for name, options := range destinations {
		t.Run(name, func(t *testing.T) {
			w, values := newWorkspace(t), stored()
			plugintest.Run(t, plugintest.Suite{
				Descriptor: Descriptor(&http.Client{Transport: w}, values),
				Options:    "{" + options + "}",
				Effects: func(*testing.T) int {
					changes := 0
					for _, message := range w.messages() {
						changes += 1 + message.updates
					}
					return changes
				},
				Hang:     func(t *testing.T, _ *corev1.Node) <-chan struct{} { return w.Hang(t) },
				Break:    func(t *testing.T) { w.Failing(t, http.StatusInternalServerError, "7", "canary") },
				Refuse:   func(t *testing.T) { w.Failing(t, http.StatusOK, "7", refusals[name]) },
				Throttle: w.Throttle,
				Unhealthy: func(t *testing.T) {
					delete(values, "token")
					delete(values, "url")
					t.Cleanup(func() { values["token"], values["url"] = stored()["token"], stored()["url"] })
				},
				Canary: "canary",
			})
		})
	}
}
