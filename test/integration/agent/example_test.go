package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// The agent of examples/agent cleans a Node with the plugin of the example, and publishes that plugin for CLIs
// that do not have it.
func TestExampleAgentRunsItsOwnPlugin(t *testing.T) {
	var mutex sync.Mutex
	states := map[string]string{}
	inventory := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		if request.Header.Get("Authorization") != "Bearer token-77" {
			writer.WriteHeader(http.StatusUnauthorized)
			return
		}
		machine := struct {
			State string `json:"state"`
		}{states[request.URL.Path]}
		if request.Method == http.MethodPatch {
			if err := json.NewDecoder(request.Body).Decode(&machine); err != nil {
				t.Error(err)
			}
			states[request.URL.Path] = machine.State
		}
		if err := json.NewEncoder(writer).Encode(machine); err != nil {
			t.Error(err)
		}
	}))
	defer inventory.Close()
	f := setUp(t, fmt.Sprintf(`steps:
- {name: retire, plugin: inventory, options: {url: "%s", token: {secretKeyRef: {name: inventory, key: token}}}}
`, inventory.URL))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "inventory"}, StringData: map[string]string{"token": "token-77"}}
	if _, err := f.client.CoreV1().Secrets(f.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	user, groups := f.user()
	kubeconfig, err := shared.KubeconfigFor(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.processOf("../../../examples/agent", kubeconfig).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	node := f.protected("worker")
	f.delete(node)
	f.awaitDeleted(node)
	mutex.Lock()
	if got := states["/machines/worker"]; got != "retired" {
		t.Errorf("the inventory has the states %v", states)
	}
	mutex.Unlock()
	f.eventually("the agent publishes its plugins", func(ctx context.Context) (bool, error) {
		published, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(ctx, api.StatusName, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		status, err := api.DecodeStatus(published)
		if err != nil {
			return false, err
		}
		return slices.ContainsFunc(status.Catalog, func(plugin api.PluginInfo) bool {
			return plugin.Name == "inventory" && slices.Equal(plugin.Options, []string{"token", "url"})
		}), nil
	})
}
