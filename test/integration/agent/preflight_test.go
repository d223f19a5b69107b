package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// No Pod is evicted for a cleanup that cannot finish.
func TestMissingSecretBlocksTheCleanupBeforeAnyStep(t *testing.T) {
	heard := make(chan string, 10)
	inventory := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		heard <- request.Header.Get("Authorization")
	}))
	defer inventory.Close()
	f := setUp(t, `steps:
- {name: first, plugin: probe, options: {do: first}}
- name: inventory
  plugin: http
  dependsOn: [first]
  options: {url: "`+inventory.URL+`", headers: {Authorization: {secretKeyRef: {name: inventory, key: token}}}}
`)
	begun := make(chan struct{}, 10)
	f.probes["first"] = func(context.Context, cleanup.Target) error { begun <- struct{}{}; return nil }
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	message := f.awaitState(node, api.Blocked)
	if !strings.Contains(message, "step inventory (http): finding the header Authorization: reading key token of secret inventory") {
		t.Errorf("the condition says %q", message)
	}
	f.awaitEvent(node, "CleanupWaiting", "not started, a critical step is unhealthy")
	if len(begun) > 0 {
		t.Fatal("a step ran")
	}
	const canary = "Bearer canary-51c2"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "inventory"}, StringData: map[string]string{"token": canary}}
	if _, err := f.client.CoreV1().Secrets(f.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.awaitDeleted(node) // The created secret is enough.
	if got := <-heard; got != canary {
		t.Errorf("the inventory heard %q", got)
	}
}

func TestSlowHealthCheckIsVisible(t *testing.T) {
	f := setUp(t, "steps:\n- {name: storage, plugin: storage}\n")
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	slow := make(chan struct{})
	f.start(f.with("storage", healthy{probe{f, ""}, func(ctx context.Context) error {
		select {
		case <-slow:
		case <-ctx.Done():
		}
		return ctx.Err()
	}}))
	node := f.protected("worker")
	f.delete(node)
	if message := f.awaitState(node, api.Preflight); !strings.Contains(message, "no step has started") {
		t.Errorf("the condition says %q", message)
	}
	close(slow)
	f.awaitDeleted(node)
}

func TestBlockedCleanupIsCheckedAgain(t *testing.T) {
	f := setUp(t, "steps:\n- {name: storage, plugin: storage}\n")
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	var recovered atomic.Bool
	f.start(f.with("storage", healthy{probe{f, ""}, func(context.Context) error {
		if !recovered.Load() {
			return errors.New("the array is rebuilding")
		}
		return nil
	}}))
	node := f.protected("worker")
	f.delete(node)
	if message := f.awaitState(node, api.Blocked); !strings.Contains(message, "the array is rebuilding") {
		t.Errorf("the condition says %q", message)
	}
	blocked := f.record(node)
	recovered.Store(true)
	// Only this test waits for the full interval between health checks.
	if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, testTimeout+30*time.Second, true, func(context.Context) (bool, error) { return f.read(node) == nil, nil }); err != nil {
		t.Fatalf("waiting until the node is deleted: %v", err)
	}
	until := blocked.CheckAgainAt.Time
	if pause := until.Sub(blocked.DeletionRequestedAt.Time); pause < 29*time.Second {
		t.Errorf("it was to look again %s after the deletion, want 30s", pause)
	}
	if began := f.record(node).Step("storage").StartedAt.Time; began.Before(until.Truncate(time.Second)) {
		t.Errorf("it began at %s, before it was to look again at %s", began, until)
	}
}

// Without its secret, an optional step fails. The other steps still run.
func TestMissingSecretDoesNotBlockOtherSteps(t *testing.T) {
	f := setUp(t, logOnly)
	asked, answer := make(chan struct{}), make(chan int)
	step := f.tokenStep(asked, answer)
	t.Run("for an optional step", func(t *testing.T) {
		f := f.in(t)
		f.configure(step + "  critical: false\n- {name: storage, plugin: probe}\n")
		f.counted("")
		stop := f.start(f.options())
		defer stop()
		node := f.protected("optional")
		f.delete(node)
		f.awaitDeleted(node)
		run := f.record(node)
		if missing := run.Step("inventory"); missing.State != api.StepFailed || !strings.Contains(missing.LastError, "reading key token of secret inventory") {
			t.Errorf("the step without its secret: %+v", missing)
		}
		if run.Step("storage").State != api.StepSucceeded {
			t.Errorf("the other step: %+v", run.Step("storage"))
		}
	})
	t.Run("deleted during the run", func(t *testing.T) {
		f := f.in(t)
		f.configure(step + "  critical: true\n  dependsOn: [first]\n- {name: first, plugin: probe, options: {do: first}}\n- {name: storage, plugin: probe, dependsOn: [first]}\n")
		gate := newGate()
		f.probes["first"] = gate.pass
		f.counted("")
		f.token("there")
		stop := f.start(f.options())
		defer stop()
		node := f.protected("critical")
		f.delete(node)
		<-gate.began
		if err := f.client.CoreV1().Secrets(f.namespace).Delete(t.Context(), "inventory", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		close(gate.open)
		if message := f.awaitState(node, api.Failed); !strings.Contains(message, "step inventory failed") || !strings.Contains(message, "secret inventory") {
			t.Errorf("the condition says %q", message)
		}
		f.eventually("the other step is done", func(context.Context) (bool, error) {
			return f.record(node).Step("storage").State == api.StepSucceeded, nil
		})
		f.token("there again")
		<-asked
		answer <- http.StatusOK
		f.awaitDeleted(node)
	})
}

// The agent checks the plugins on a request, and when a secret is created. The request stays on
// the status.
func TestPluginHealthIsChecked(t *testing.T) {
	f := setUp(t, `steps:
- name: inventory
  plugin: http
  options: {url: "http://127.0.0.1:1", headers: {Authorization: {secretKeyRef: {name: inventory, key: token}}}}
- {name: log, plugin: logger}
`)
	f.start(f.options())
	status := func() (*api.AgentStatus, string) {
		configMap, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(t.Context(), api.StatusName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return &api.AgentStatus{}, ""
		}
		if err != nil {
			t.Fatal(err)
		}
		status, err := api.DecodeStatus(configMap)
		if err != nil {
			t.Fatal(err)
		}
		return status, configMap.Annotations[api.AnnotationPreflightRequestedAt]
	}
	f.eventually("the status tells that the secret is missing", func(context.Context) (bool, error) {
		says, _ := status()
		return len(says.Plugins) == 2 && strings.Contains(says.Plugins[0].Error, "inventory") && says.Plugins[0].HealthyAt == nil && !says.Plugins[1].Checks, nil
	})
	const request = "2026-01-01T00:00:00Z"
	if _, err := f.client.CoreV1().ConfigMaps(f.namespace).Patch(t.Context(), api.StatusName, types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"`+api.AnnotationPreflightRequestedAt+`":"`+request+`"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the request is answered, and still there", func(context.Context) (bool, error) {
		says, requested := status()
		return says.PreflightRequestedAt == request && requested == request, nil
	})
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "inventory"}, StringData: map[string]string{"token": "canary-77"}}
	if _, err := f.client.CoreV1().Secrets(f.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the status no longer tells that the secret is missing", func(context.Context) (bool, error) {
		says, _ := status()
		return !strings.Contains(says.Plugins[0].Error, "reading key token"), nil
	})
}

// tokenStep is a step that uses a Secret, and a server that rejects the token until the test
// allows it. On each request the server notifies the test and waits.
func (f *fixture) tokenStep(asked chan struct{}, answer chan int) string {
	inventory := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if request.Method != http.MethodPost {
			return // It is asked how it is.
		}
		select {
		case asked <- struct{}{}:
			writer.WriteHeader(<-answer)
		case <-request.Context().Done():
		}
	}))
	f.Cleanup(inventory.Close)
	return `retry: {maxRetries: 0}
steps:
- name: inventory
  plugin: http
  options: {url: "` + inventory.URL + `", headers: {Authorization: {secretKeyRef: {name: inventory, key: token}}}}
`
}

// token writes the Secret, and returns when that was.
func (f *fixture) token(value string) time.Time {
	f.Helper()
	secret, err := f.client.CoreV1().Secrets(f.namespace).Patch(f.Context(), "inventory", types.ApplyPatchType,
		[]byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"inventory"},"stringData":{"token":"`+value+`"}}`), metav1.PatchOptions{FieldManager: "test"})
	if err != nil {
		f.Fatal(err)
	}
	return secret.ManagedFields[0].Time.Time
}

func TestSecretChangedDuringAStepRestartsIt(t *testing.T) {
	f := setUp(t, logOnly)
	asked, answer := make(chan struct{}), make(chan int)
	f.configure(f.tokenStep(asked, answer))
	f.token("old")
	var log output
	options := f.options()
	options.Log = slog.New(slog.NewTextHandler(&log, nil))
	f.start(options)
	node := f.protected("worker")
	f.delete(node)
	<-asked
	f.token("new")
	f.eventually("the agent has seen it", func(context.Context) (bool, error) {
		return strings.Contains(log.String(), "secret changed"), nil
	})
	answer <- http.StatusUnauthorized
	<-asked
	answer <- http.StatusOK
	f.awaitDeleted(node)
}

func TestSecretChangedWithoutALeaderRestartsTheCleanup(t *testing.T) {
	f := setUp(t, logOnly)
	asked, answer := make(chan struct{}), make(chan int)
	f.configure(f.tokenStep(asked, answer))
	f.token("old")
	stop := f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	<-asked
	answer <- http.StatusUnauthorized
	f.awaitState(node, api.Failed)
	stop()
	failed := f.record(node).Step("inventory").FinishedAt.Time
	tries := 0
	f.eventually("the clock of the API server, in whole seconds, shows a time after the failure", func(context.Context) (bool, error) {
		tries++
		return f.token(fmt.Sprintf("new-%d", tries)).After(failed), nil
	})
	f.start(f.options())
	<-asked
	answer <- http.StatusOK
	f.awaitDeleted(node)
}
