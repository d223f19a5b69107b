package agent_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// TestAMissingSecretBlocksTheCleanupBeforeAnythingIsBegun: nothing is evicted for
// a cleanup that could not be finished.
func TestAMissingSecretBlocksTheCleanupBeforeAnythingIsBegun(t *testing.T) {
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
	f.awaitEvent(node, "CleanupWaiting", "nothing was begun")
	if len(begun) > 0 {
		t.Fatal("a step ran")
	}
	const canary = "Bearer canary-51c2"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "inventory"}, StringData: map[string]string{"token": canary}}
	if _, err := f.client.CoreV1().Secrets(f.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: "2026-01-01T00:00:00Z"})
	f.awaitGone(node)
	if got := <-heard; got != canary {
		t.Errorf("the inventory heard %q", got)
	}
}
