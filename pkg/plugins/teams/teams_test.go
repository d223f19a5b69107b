package teams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/plugintest"
)

func stored() plugintest.Secrets { return plugintest.Secrets{"url": hook + "\n"} }

const byHook = `"webhookURL":{"secretKeyRef":{"name":"teams","key":"url"}}`

func (f *flow) descriptor(values plugintest.Secrets) cleanup.Descriptor {
	return Descriptor(&http.Client{Transport: f}, values)
}

func (f *flow) plugin(t *testing.T, options string) cleanup.Plugin {
	t.Helper()
	plugin, faults := f.descriptor(stored()).Bind([]byte("{" + byHook + options + "}"))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return plugin
}

// targetFor returns a target, and the outputs that it records.
func targetFor(annotation string) (cleanup.Target, map[string]string) {
	recorded := map[string]string{}
	return cleanup.Target{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker_7", UID: "u7", Annotations: map[string]string{"note": annotation}}},
		Step: "announce", Attempt: 1, Outputs: map[string]map[string]string{"announce": recorded}, Log: slog.New(slog.DiscardHandler),
		Recorded: func(name, value string) error { recorded[name] = value; return nil },
	}, recorded
}

func TestAStepHandsOverAMessageOnce(t *testing.T) {
	f := newFlow(t)
	target, outputs := targetFor("<at>all</at> & [x](https://evil.example.com)")
	plugin := f.plugin(t, `,"message":"Node ${node.name}\n\n${node.annotations['note']}\n"`)
	for range 2 {
		if err := plugin.Cleanup(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	messages := f.messages()
	if len(messages) != 1 || outputs[handedOver] == "" || fmt.Sprintf("%q", messages[0].lines) != `["Node worker_7" "<at>all</at> & [x](https://evil.example.com)"]` {
		t.Errorf("%v, %v", messages, outputs)
	}
	effects, err := plugin.(cleanup.Previewer).Preview(t.Context(), target)
	if text := fmt.Sprint(effects, err); !strings.Contains(text, "hands over a message to the workflow: Node worker_7") || strings.Contains(text, "post") || strings.Contains(text, "canary") {
		t.Error(text)
	}
}

func TestLongMessagesFit(t *testing.T) {
	f := newFlow(t)
	for name, test := range map[string]struct {
		text string
		cut  bool
	}{
		"one line":       {strings.Repeat("ä", 40_000), true},
		"many lines":     {strings.Repeat(strings.Repeat("x", 99)+"\n", 500), true},
		"short lines":    {strings.Repeat("x\n", 5000), true},
		"quotes":         {strings.Repeat(`"\`, 20_000), true},
		"emoji":          {strings.Repeat("🖖", 9_000), true},
		"HTML":           {strings.Repeat("<&>", 5_000), false},
		"almost full":    {strings.Repeat("x", 17_000), false},
		"one line after": {"heading\n" + strings.Repeat("y", 30_000), true},
	} {
		target, _ := targetFor(test.text)
		if err := f.plugin(t, `,"message":"${node.annotations['note']}"`).Cleanup(t.Context(), target); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		messages := f.messages()
		message := messages[len(messages)-1]
		last := message.lines[len(message.lines)-1]
		if message.size > maxRequest || test.cut && message.size < maxRequest-500 || strings.HasSuffix(last, "…") != test.cut || strings.ContainsRune(last, '�') {
			t.Errorf("%s: %d bytes in %d lines, the end is %q", name, message.size, len(message.lines), last[max(0, len(last)-20):])
		}
	}
	for size := maxRequest - 700; size < maxRequest+100; size++ { // A last line that just fits, or not.
		got := encode("heading\n"+strings.Repeat("x", size/2)+"\n"+strings.Repeat("y", size/2), usual)
		whole := len(encode("heading\nx\ny", usual)) - 2 + size/2*2
		if len(got) > maxRequest || strings.Contains(string(got), "…") != (whole > maxRequest) {
			t.Fatalf("a request that needs %d bytes has %d bytes, and ends with %s", whole, len(got), got[len(got)-20:])
		}
	}
}

func TestAnswersOfTheWorkflow(t *testing.T) {
	f := newFlow(t)
	failed := func(status int) string {
		return fmt.Sprintf("Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error %d with ContextId tcid=canary", status)
	}
	for name, test := range map[string]struct {
		status    int
		body      string
		says      string
		permanent bool
		after     time.Duration
	}{
		"queued":               {202, "", "", false, 0},
		"a response action":    {200, `{"answer":"of the author"}`, "", false, 0},
		"a former connector":   {200, "1", "", false, 0},
		"too large inside":     {200, failed(413), "the webhook answers 200 OK, but Teams answered it with 413", true, 0},
		"limited inside":       {200, failed(429), "Teams answered it with 429", false, 0},
		"down inside":          {200, failed(502), "Teams answered it with 502", false, 0},
		"failed inside":        {200, "Webhook message delivery failed", "reports that the message was not delivered", false, 0},
		"a proxy":              {200, "\n<html>canary", "a proxy may have answered", false, 0},
		"limited":              {429, `{"error":{"code":"TooManyRequests","message":"canary"}}`, "429 Too Many Requests (TooManyRequests)", false, 7 * time.Second},
		"down":                 {503, "canary", "the workflow answers 503 Service Unavailable", false, 7 * time.Second},
		"bad signature":        {401, `{"error":{"code":"DirectApiAuthorizationRequired","message":"sig=canary-Zz_9%2BQ"}}`, "401 Unauthorized (DirectApiAuthorizationRequired)", true, 0},
		"a code from the URL":  {404, `{"error":{"code":"canary"}}`, "404 Not Found", true, 0},
		"a code with a secret": {404, `{"error":{"code":"sig=canary-Zz_9"}}`, "404 Not Found", true, 0},
		"not a code":           {404, `{"error":{"code":"any text"}}`, "404 Not Found", true, 0},
		"redirect":             {302, "", "the workflow answers 302 Found", true, 0},
	} {
		f.Failing(t, test.status, "7", test.body)
		target, outputs := targetFor("")
		err := f.plugin(t, "").Cleanup(t.Context(), target)
		after, _ := cleanup.RetryDelay(err)
		if (err == nil) != (test.says == "") || err != nil && !strings.HasSuffix(err.Error(), test.says) || cleanup.IsPermanent(err) != test.permanent || after != test.after {
			t.Errorf("%s: %v, permanent %t, after %s", name, err, cleanup.IsPermanent(err), after)
		}
		if err != nil && (strings.Contains(err.Error(), "canary") || outputs[handedOver] != "") {
			t.Errorf("%s: the error has a secret, or the message counts as handed over: %v, %v", name, err, outputs)
		}
	}
}

func TestARefusedConnectionDoesNotExposeTheURL(t *testing.T) {
	f := newFlow(t)
	f.server.Close()
	target, _ := targetFor("")
	if err := f.plugin(t, "").Cleanup(t.Context(), target); err == nil || cleanup.IsPermanent(err) || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
}

func TestTheRateIsLimited(t *testing.T) {
	f := newFlow(t)
	limited := f.plugin(t, "")
	began := time.Now()
	for range burst + 1 {
		target, _ := targetFor("")
		if err := limited.Cleanup(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < time.Second/perSecond*9/10 {
		t.Errorf("%d messages took %s", burst+1, took)
	}
	// A wait that would be longer than the step may take fails at once.
	full := f.plugin(t, "").(*plugin)
	full.limiter = flowcontrol.NewTokenBucketRateLimiter(0.001, 1)
	full.limiter.Accept()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	target, _ := targetFor("")
	err := full.Cleanup(ctx, target)
	if after, _ := cleanup.RetryDelay(err); after != busyDelay || cleanup.IsPermanent(err) || len(f.messages()) != burst+1 {
		t.Errorf("%v, after %s", err, after)
	}
}

func notification(open bool) cleanup.Notification {
	return cleanup.Notification{
		Name: "ops", Key: "ops-1", ID: "ops-1/1-aa", Open: open, Nodes: 2, Title: "Cleanup of 2 nodes: 1 Failed, 1 Started",
		Text: "Cleanup of 2 nodes: 1 Failed, 1 Started\nFailed: worker_7\nNext: kubectl nodecleanup status", Log: slog.New(slog.DiscardHandler),
	}
}

func TestANotificationThatNeedsAttentionHasItsColor(t *testing.T) {
	f := newFlow(t)
	notifier, faults := f.descriptor(stored()).BindNotifier([]byte("{" + byHook + "}"))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for i, want := range []string{"attention", "default"} {
		if reference, err := notifier.Notify(t.Context(), notification(i == 0)); reference != "" || err != nil {
			t.Fatal(reference, err)
		}
		if message := f.messages()[i]; message.color != want || len(message.lines) != 3 {
			t.Errorf("%+v", message)
		}
	}
}

func TestTheHealthCheckReadsTheURL(t *testing.T) {
	f := newFlow(t)
	for text, want := range map[string]string{
		hook:                              "",
		"https://example.com/a?sig=1":     "", // No host is fixed.
		"http://example.com/a?sig=canary": "does not start with https://",
		"canary":                          "is not a URL",
		"":                                "is empty",
	} {
		plugin, faults := f.descriptor(plugintest.Secrets{"url": text}).Bind([]byte("{" + byHook + "}"))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		err := plugin.(cleanup.HealthChecker).CheckHealth(t.Context())
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if len(f.messages()) > 0 {
		t.Error("the health check sent a message")
	}
}

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{
		``: "webhookURL: is required",
		`"webhookURL":"https://example.com/?sig=1"`:               "webhookURL: must be in a Secret",
		byHook + `,"message":""`:                                  "message: must not be empty",
		byHook + `,"message":"${node.nme}"`:                       "message: has the unknown reference ${node.nme}",
		`"webhookURL":{"secretKeyRef":{"name":"teams","key":""}}`: "webhookURL: secretKeyRef needs name and key",
	} {
		_, faults := Descriptor(nil, nil).Bind([]byte("{" + options + "}"))
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

func TestConformance(t *testing.T) {
	f, values := newFlow(t), stored()
	plugintest.Run(t, plugintest.Suite{
		Descriptor: f.descriptor(values),
		Options:    "{" + byHook + "}",
		Effects:    func(*testing.T) int { return len(f.messages()) },
		Hang:       func(t *testing.T, _ *corev1.Node) <-chan struct{} { return f.Hang(t) },
		Break:      func(t *testing.T) { f.Failing(t, http.StatusInternalServerError, "7", "canary") },
		Refuse: func(t *testing.T) {
			f.Failing(t, http.StatusNotFound, "7", `{"error":{"code":"WorkflowNotFound","message":"canary"}}`)
		},
		Throttle: f.Throttle,
		Unhealthy: func(t *testing.T) {
			delete(values, "url")
			t.Cleanup(func() { values["url"] = hook })
		},
		Canary: "canary",
	})
}

func TestNotifierConformance(t *testing.T) {
	f := newFlow(t)
	plugintest.RunNotifier(t, plugintest.NotifierSuite{
		Descriptor: f.descriptor(stored()),
		Options:    "{" + byHook + "}",
		Messages:   func(*testing.T) int { return len(f.messages()) },
		Hang:       f.Hang,
		Break:      func(t *testing.T) { f.Failing(t, http.StatusBadGateway, "7", "canary") },
		Refuse:     func(t *testing.T) { f.Failing(t, http.StatusUnauthorized, "7", "canary") },
		Throttle:   f.Throttle,
		Canary:     "canary",
	})
}
