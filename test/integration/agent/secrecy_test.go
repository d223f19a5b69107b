package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/secrets"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type leakOptions struct {
	How   string        `json:"how"`
	Token cleanup.Value `json:"token"`
}

// leaking is a plugin that puts its secret into every text that it can return.
type leaking struct {
	leakOptions
	f       *fixture
	secrets cleanup.Secrets
}

func (f *fixture) leak(secrets cleanup.Secrets) cleanup.Descriptor {
	return cleanup.Descriptor{Name: "leak", Bind: cleanup.Options(leakOptions{}, func(o leakOptions) (cleanup.Plugin, error) { return leaking{o, f, secrets}, nil })}
}

func (l leaking) Cleanup(ctx context.Context, target cleanup.Target) error {
	token, err := l.Token.Resolve(ctx, l.secrets)
	if err != nil {
		return err
	}
	target.Log.Info("sending "+token, "token", token, "request", []string{token})
	target.Progress("waiting for " + token)
	switch {
	case l.How == "wait":
		return l.f.probes["wait"](ctx, target)
	case l.How == "hang":
		<-ctx.Done()
		return fmt.Errorf("waiting for %s: %w", token, ctx.Err())
	case l.How == "panic":
		panic("no such key: " + token)
	case l.How == "retry" && target.Attempt == 1:
		return fmt.Errorf("sending %q: refused", token)
	case l.How == "fail":
		return cleanup.Permanent(errors.New("401 for " + token))
	}
	return nil
}

func (l leaking) CheckHealth(ctx context.Context) error {
	token, err := l.Token.Resolve(ctx, l.secrets)
	if err == nil && l.How == "ill" {
		err = errors.New("401 for " + token)
	}
	return err
}

func (l leaking) Preview(ctx context.Context, _ cleanup.Target) ([]cleanup.Effect, error) {
	token, err := l.Token.Resolve(ctx, l.secrets)
	return []cleanup.Effect{{Action: "Send", Object: cleanup.Object{Kind: "Token", Name: token}, Reason: token}}, err
}

// output is the agent's log, written by many and read concurrently.
type output struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (o *output) Write(data []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(data)
}

func (o *output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// TestNoSecretLeavesTheAgent has steps go every way that a step can go, with a
// secret that each of them leaks, and looks for it in the log, in
// the metrics, and in everything that the API server holds.
func TestNoSecretLeavesTheAgent(t *testing.T) {
	const canary = "canary-0d6c8a"
	repeats := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
		token := request.Header.Get("Authorization")
		switch request.URL.Path {
		case "/redirect":
			http.Redirect(w, request, "/elsewhere?token="+token, http.StatusFound)
		case "/refuse":
			http.Error(w, "no such token: "+token, http.StatusForbidden)
		case "/hang":
			<-request.Context().Done()
		case "/busy":
			w.Header().Set("Retry-After", token)
			http.Error(w, token, http.StatusServiceUnavailable)
		}
	}))
	defer repeats.Close()
	// One node for each way, which its label says: worker has all that a step can do.
	const reference = "{secretKeyRef: {name: canary, key: token}}"
	config := "concurrency: {stepsPerNode: 20}\nretry: {maxRetries: 1, initialDelay: 10ms}\nsteps:\n- {name: drain, plugin: drain}\n"
	step := func(name, on, rest string) {
		config += fmt.Sprintf("- {name: %s, nodeSelector: {matchLabels: {kubernetes.io/hostname: %s}}, %s}\n", name, on, rest)
	}
	for _, how := range []string{"succeed", "panic", "retry", "fail", "ill", "hang"} {
		step(how, "worker", fmt.Sprintf("plugin: leak, timeout: 1s, options: {how: %s, token: %s}", how, reference))
	}
	for _, path := range []string{"fine", "redirect", "refuse", "busy", "hang"} {
		step("at-"+path, "worker", fmt.Sprintf("plugin: http, timeout: 1s, critical: %v, options: {url: '%s/%s', headers: {Authorization: %s}}", path == "refuse", repeats.URL, path, reference))
	}
	for _, key := range []string{"url", "nobody", "nonsense"} {
		step("by-"+key, "worker", fmt.Sprintf("plugin: http, critical: false, options: {url: {secretKeyRef: {name: canary, key: %s}}}", key))
	}
	step("trusts", "worker", "plugin: http, critical: false, options: {url: 'https://127.0.0.1:1', caBundle: "+reference+"}")
	step("on-request", "requested", fmt.Sprintf("plugin: leak, options: {how: retry, token: %s}", reference))
	step("critical", "blocked", fmt.Sprintf("plugin: leak, critical: true, options: {how: ill, token: %s}", reference))
	step("waits", "waiting", fmt.Sprintf("plugin: leak, timeout: 1m, options: {how: wait, token: %s}", reference))
	step("would", "preview", fmt.Sprintf("plugin: leak, options: {how: succeed, token: %s}", reference))
	f := setUp(t, config)
	gate := newGate()
	f.probes["wait"] = gate.pass
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "canary"}, StringData: map[string]string{
		"token": canary, "url": repeats.URL + "/fine?key=" + canary, "nobody": "http://127.0.0.1:1/" + canary, "nonsense": canary + "://" + canary,
	}}
	if _, err := f.client.CoreV1().Secrets(f.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var log output
	options := f.options()
	options.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	options.MetricsListen = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	var others *slog.Logger
	options.SetLogger = func(log *slog.Logger) { others = log }
	stop := f.start(options)
	waiting := f.protected("waiting")
	f.delete(waiting)
	<-gate.began
	node := f.protected("worker")
	f.delete(node)
	blocked := f.protected("blocked")
	f.delete(blocked)
	requested := f.protected("requested")
	f.request(requested, firstRequest)
	if message := f.awaitState(blocked, api.Blocked); !strings.Contains(message, "401 for [secret]") {
		t.Errorf("the condition of the blocked node says %q", message)
	}
	f.awaitEvent(blocked, "CleanupWaiting", "401 for [secret]")
	f.awaitState(requested, api.Succeeded)
	f.awaitEvent(requested, "CleanupCompleted", "Requested cleanup completed")
	f.eventually("the progress is in the record and in the condition", func(context.Context) (bool, error) {
		condition := api.CleanupConditionOf(f.read(waiting))
		return condition != nil && strings.Contains(condition.Message, "waiting for [secret]") && f.record(waiting).Step("waits").Progress == "waiting for [secret]", nil
	})
	close(gate.open)
	f.awaitDeleted(waiting)
	f.awaitState(node, api.Failed)
	for name, want := range map[string]string{
		"hang": "did not finish within 1s: waiting for [secret]", "at-hang": "did not finish within 1s", "by-nobody": "connection refused",
		"by-nonsense": "is not a URL", "trusts": "the CA bundle contains something other than PEM certificates", "panic": "no such key: [secret]",
	} {
		if said := f.record(node).Step(name).LastError; !strings.Contains(said, want) {
			t.Errorf("step %s failed with %q, want %q", name, said, want)
		}
	}
	if step := f.record(node).Step("by-url"); step.State != api.StepSucceeded {
		t.Errorf("the step whose URL is secret: %+v", step)
	}
	others.Info("client-go says", "url", canary)
	f.awaitEvent(node, "StepFailed", "[secret]")
	f.eventually("every plugin was asked how it is", func(ctx context.Context) (bool, error) {
		configMap, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(ctx, api.StatusName, metav1.GetOptions{})
		return err == nil && strings.Contains(configMap.Data[api.StatusKey], "401 for [secret]"), err
	})
	page := f.metrics(options.MetricsListen)
	stop()
	options.DryRun = true
	dry := f.start(options)
	preview := f.protected("preview")
	f.delete(preview)
	f.awaitDeleted(preview)
	dry()
	if said := strings.Join(f.record(preview).Step("would").Would(), ""); said != "send Token [secret] ([secret])" {
		t.Errorf("the preview says %q", said)
	}
	found := map[string]string{"the log": log.String(), "the metrics": page}
	for what, object := range f.everything() {
		found[what] = object
	}
	for what, text := range found {
		if at := strings.Index(text, canary); at >= 0 {
			t.Errorf("%s tells the secret: …%s…", what, text[max(0, at-200):min(len(text), at+100)])
		}
	}
	for what, want := range map[string]string{"the log": `"client-go says","url":"[secret]"`, "the metrics": "node_cleanup_operations_total"} {
		if !strings.Contains(found[what], want) {
			t.Errorf("%q is missing in %s: this proves nothing", want, what)
		}
	}
}

// The annotation of kubectl apply contains the whole Secret, and the agent watches Secrets.
func TestAgentCachesNoSecretValues(t *testing.T) {
	const canary = "canary-51e3b7"
	f := setUp(t, logOnly)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "applied", Labels: map[string]string{"team": canary}, Annotations: map[string]string{
			corev1.LastAppliedConfigAnnotation: `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"applied"},"stringData":{"token":"` + canary + `"}}`,
		}},
		StringData: map[string]string{"token": canary, "key-" + canary: "x"},
	}
	if _, err := f.client.CoreV1().Secrets(f.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	informer, err := secrets.Informer(metadata.NewForConfigOrDie(f.rest()), f.namespace)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	known, ended := make(chan string, 10), make(chan error, 1)
	go func() {
		ended <- secrets.Follow(ctx, informer, func(name string, _ time.Time) { known <- name }, func(string) {})
	}()
	for <-known != "applied" {
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(informer.GetStore().List())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(stored), `"applied"`) {
		t.Errorf("the store does not hold the Secret: %s", stored)
	}
	if strings.Contains(string(stored), canary) {
		t.Errorf("the store holds the value: %s", stored)
	}
}

// everything returns all that the agent writes to the API server, as JSON.
func (f *fixture) everything() map[string]string {
	f.Helper()
	all := map[string]string{}
	add := func(what string, list any, err error) {
		f.Helper()
		if err != nil {
			f.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			f.Fatal(err)
		}
		all[what] = string(text)
	}
	ctx := f.Context()
	nodes, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	add("the nodes", nodes, err)
	events, err := f.client.CoreV1().Events(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	add("the Events", events, err)
	configMaps, err := f.client.CoreV1().ConfigMaps(f.namespace).List(ctx, metav1.ListOptions{})
	for i := range configMaps.Items {
		add("configmap "+configMaps.Items[i].Name, configMaps.Items[i], err)
	}
	leases, err := f.client.CoordinationV1().Leases(f.namespace).List(ctx, metav1.ListOptions{})
	add("the Leases", leases, err)
	return all
}
