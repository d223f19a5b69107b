package agent_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// denyWithNotFound has a webhook deny requests, as one does that does not find the object in its
// own cache. It stops when the returned function is called.
func (f *fixture) denyWithNotFound(name, resource string, operation registration.OperationType, condition string) (allow func()) {
	f.Helper()
	var allows atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
			f.Error(err)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: allows.Load()}
		if !review.Response.Allowed {
			review.Response.Result = &metav1.Status{Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: "not in my cache"}
		}
		if err := json.NewEncoder(w).Encode(review); err != nil {
			f.Error(err)
		}
	}))
	f.Cleanup(server.Close)
	webhooks := f.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := webhooks.Create(f.Context(), &registration.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []registration.ValidatingWebhook{{
			Name: name, AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(registration.SideEffectClassNone), FailurePolicy: ptr.To(registration.Fail),
			ClientConfig: registration.WebhookClientConfig{
				URL: &server.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []registration.RuleWithOperations{{
				Operations: []registration.OperationType{operation}, Rule: registration.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}},
			}},
			MatchConditions: []registration.MatchCondition{{Name: "these", Expression: condition}},
		}},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := webhooks.Delete(context.WithoutCancel(f.Context()), name, metav1.DeleteOptions{}); err != nil {
			f.Error(err)
		}
	})
	return func() { allows.Store(true) }
}

// A webhook chooses the code of its denial. A 404 does not mean that the Pod or the Node is
// deleted.
func TestNotFoundOfAWebhookIsADenial(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	node := f.protected("worker")
	pod := f.pod("cart", node)
	allowEvictions := f.denyWithNotFound("evictions.example.com", "pods/eviction", registration.Create, "true")
	allowRelease := f.denyWithNotFound("nodes.example.com", "nodes", registration.Update, "has(oldObject.metadata.finalizers) && !has(object.metadata.finalizers)")
	f.eventually("the API server calls the webhooks", func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().Nodes().Patch(ctx, node.Name, "application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil, nil
	})
	f.start(f.options())
	f.delete(node)
	f.eventually("the condition names the webhook that denies the eviction", func(context.Context) (bool, error) {
		condition := api.CleanupConditionOf(f.read(node))
		return condition != nil && strings.Contains(condition.Message, `admission webhook "evictions.example.com" denied the request: not in my cache`), nil
	})
	allowEvictions()
	f.awaitEviction(pod, node)
	f.kill(pod)
	if message := f.awaitState(node, api.Blocked); !strings.Contains(message, `admission webhook "nodes.example.com" denied the request: not in my cache`) {
		t.Errorf("the condition says %q", message)
	}
	allowRelease()
	f.awaitDeleted(node)
}
