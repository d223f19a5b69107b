package agent_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// ticketService runs the example in Python, with TLS and a token, until the test ends. It returns the
// port of the service, the CAs that verify its certificate, and its folder of tickets.
func ticketService(t *testing.T, token string) (port int, bundle, tickets string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "" {
			t.Skip("python3 is not installed")
		}
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(http.NotFoundHandler()) // Only for its certificate.
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	bundle = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	folder := t.TempDir()
	for name, data := range map[string][]byte{"cert": []byte(bundle), "key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tickets = t.TempDir()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), python, "../../../examples/webhook/python/tickets.py")
	command.Env = append(os.Environ(), "PORT=0", "TOKEN="+token, "TICKETS="+tickets, "CERT="+filepath.Join(folder, "cert"), "KEY="+filepath.Join(folder, "key"))
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := command.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = command.Wait() // It was killed.
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if _, scanned := fmt.Sscanf(line, "listening on port %d", &port); err != nil || scanned != nil {
		t.Fatalf("the service says %q, %v", line, err)
	}
	return port, bundle, tickets
}

// A service in Python does a step from end to end: its progress is visible, an agent that starts in
// the middle continues the same work, its output reaches the next step, and its own message explains a
// failure.
func TestWebhookServiceDoesAStepAcrossARestart(t *testing.T) {
	port, bundle, tickets := ticketService(t, "token-4c1d")
	f := setUp(t, fmt.Sprintf(`retry: {initialDelay: 10ms}
steps:
- name: ticket
  plugin: webhook
  options:
    url: https://127.0.0.1:%d
    caBundle: {secretKeyRef: {name: tickets, key: ca}}
    token: {secretKeyRef: {name: tickets, key: token}}
- {name: close, plugin: probe, dependsOn: [ticket], options: {do: close}}
`, port))
	closed := make(chan map[string]map[string]string, 10)
	f.probes["close"] = func(_ context.Context, target cleanup.Target) error { closed <- target.Outputs; return nil }
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "tickets"}, StringData: map[string]string{"token": "token-4c1d", "ca": bundle}}
	if _, err := f.client.CoreV1().Secrets(f.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stop := f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	waits := func(attempt int) {
		t.Helper()
		f.eventually("the progress of the service is visible", func(context.Context) (bool, error) {
			condition := api.CleanupConditionOf(f.read(node))
			if condition == nil || !strings.Contains(condition.Message, "waits for approval to remove worker") {
				return false, nil
			}
			step := f.record(node).Step("ticket")
			return step.Attempts == attempt && strings.Contains(step.Progress, "waits for approval"), nil
		})
	}
	waits(1)
	stop()
	f.start(f.options())
	waits(2)
	if current := f.read(node); current == nil || !api.HasFinalizer(current) || len(closed) > 0 {
		t.Fatal("the agent did not wait for the service")
	}
	decide := func(decision string) (ticket string) {
		t.Helper()
		files, err := os.ReadDir(tickets)
		if err != nil || len(files) != 1 {
			t.Fatalf("there are tickets %v, %v", files, err)
		}
		if err := os.WriteFile(filepath.Join(tickets, files[0].Name()), []byte(decision), 0o600); err != nil {
			t.Fatal(err)
		}
		return files[0].Name()
	}
	ticket := decide("approved")
	f.awaitDeleted(node)
	if outputs := <-closed; outputs["ticket"]["ticket"] != ticket {
		t.Errorf("the next step got the outputs %v, want ticket %s", outputs, ticket)
	}
	if err := os.Remove(filepath.Join(tickets, ticket)); err != nil {
		t.Fatal(err)
	}

	rejected := f.protected("rejected")
	f.delete(rejected)
	f.eventually("the service has opened a ticket", func(context.Context) (bool, error) {
		files, err := filepath.Glob(filepath.Join(tickets, "*"))
		if err != nil || len(files) == 0 {
			return false, err
		}
		status, err := os.ReadFile(files[0])
		return string(status) == "open", err
	})
	want := fmt.Sprintf("ticket %s was rejected: change freeze", decide("rejected: change freeze"))
	if message := f.awaitState(rejected, api.Failed); !strings.Contains(message, want) {
		t.Errorf("the condition says %q, want %q", message, want)
	}
	f.awaitEvent(rejected, "StepFailed", want)
	if step := f.record(rejected).Step("ticket"); step.Attempts != 1 {
		t.Errorf("the rejected step ran %d times", step.Attempts)
	}
}
