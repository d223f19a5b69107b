package agent_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// The shipped FlowSchemas match the agent's requests, as the API server reports in each response.
// Without them, the agent's requests, including its Lease renewals, would share the priority level
// of all service accounts.
func TestAgentRequestsMatchTheFlowSchema(t *testing.T) {
	f := setUp(t, logOnly)
	names := map[string]string{}
	schemas, err := f.client.FlowcontrolV1().FlowSchemas().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, schema := range schemas.Items {
		names[string(schema.UID)] = schema.Name
	}
	var mutex sync.Mutex
	flows := map[string]map[string]bool{} // by request
	options := f.options()
	options.REST.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err == nil {
				mutex.Lock()
				defer mutex.Unlock()
				what := request.Method + " " + request.URL.Path
				if flows[what] == nil {
					flows[what] = map[string]bool{}
				}
				flows[what][names[response.Header.Get("X-Kubernetes-PF-FlowSchema-UID")]] = true
			}
			return response, err
		})
	})
	f.eventually("the API server follows the FlowSchemas", func(ctx context.Context) (bool, error) {
		client, err := rest.HTTPClientFor(f.rest())
		if err != nil {
			return false, err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, shared.URL()+"/api/v1/nodes?limit=1", nil)
		if err != nil {
			return false, err
		}
		response, err := client.Do(request)
		if err != nil {
			return false, err
		}
		response.Body.Close()
		return names[response.Header.Get("X-Kubernetes-PF-FlowSchema-UID")] == api.Agent, nil
	})
	stop := f.start(options)
	node := f.protected("worker")
	f.delete(node)
	f.awaitDeleted(node)
	f.awaitEvent(node, "CleanupCompleted", "")
	stop()
	mutex.Lock()
	defer mutex.Unlock()
	kinds := map[string]bool{}
	for what, by := range flows {
		want := api.Agent
		if strings.Contains(what, "/leases") {
			want += "-lease"
		}
		if len(by) != 1 || !by[want] {
			t.Errorf("%s is of flow %v, want %s", what, by, want)
		}
		for _, kind := range []string{"PUT", "POST", "PATCH", "/leases/", "/configmaps", "/events", "/nodes/worker", "/secrets"} {
			kinds[kind] = kinds[kind] || strings.Contains(what, kind)
		}
	}
	for kind, seen := range kinds {
		if !seen {
			t.Errorf("no request has %s in it: this proves little", kind)
		}
	}
}
