package operate_test

import (
	"context"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// A webhook that does not respond blocks a drain. plan and diagnose report it with the next step.
func TestWebhookBlockingADrainIsNamed(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.start()
	f.node("worker", nil)
	f.pod("web-0", "worker", app("web"))
	f.breakWebhook("evictions.example.com", "pods/eviction", admissionv1.Create)
	f.eventually("the API server calls the webhook", func(context.Context) (bool, error) {
		return f.quietly("plan", "worker").code == exit.Blocked, nil
	})
	const remedy = "fix the service behind admission webhook evictions.example.com"
	f.run("plan", "worker").exits(exit.Blocked).says(`failed calling webhook "evictions.example.com"`, remedy)
	f.delete("worker")
	f.awaitState("worker", api.Running)
	f.eventuallyDiagnoses("worker", "eviction-denied")
	f.run("diagnose", "worker").exits(exit.Unhealthy).says("default/web-0", remedy)
	f.wantsNoWrites("diagnose", "worker")
	f.eventually("the condition names the remedy", func(context.Context) (bool, error) {
		return strings.Contains(api.CleanupConditionOf(f.read("worker")).Message, remedy), nil
	})
}

// kubectl drain and the eviction API cannot evict a Pod with two budgets.
func TestTwoBudgetsOnOnePodAreNamed(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"), func(pod *corev1.Pod) { pod.Labels["tier"] = "shop" })
	f.budgetFor("cart", map[string]string{"app": "cart"}, 0)
	f.budgetFor("shop", map[string]string{"tier": "shop"}, 0)
	const remedy = "delete all but one, or change their selectors: kubectl -n default get pdb cart shop"
	f.run("plan", "worker").exits(exit.Blocked).says(remedy)
	f.delete("worker")
	f.awaitState("worker", api.Running)
	f.eventuallyDiagnoses("worker", "budget-blocking")
	f.run("diagnose", "worker").exits(exit.Unhealthy).says("budgets cart, shop select the pod", remedy)
}

// breakWebhook has the API server call a webhook that does not answer.
func (f *fixture) breakWebhook(name, resource string, operation admissionv1.OperationType) {
	f.Helper()
	webhooks := f.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := webhooks.Create(f.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: name, AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionv1.SideEffectClassNone),
			ClientConfig: admissionv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/")}, FailurePolicy: ptr.To(admissionv1.Fail),
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{operation}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}},
			}},
		}},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { f.dropWebhook(name) })
}

func (f *fixture) dropWebhook(name string) {
	err := f.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(contextOf(f.T), name, metav1.DeleteOptions{})
	if ignoreNotFound(err) != nil {
		f.Error(err)
	}
}

// The drain evicts no Pod while one has no controller, so the budget alone is not the cause.
func TestPodThatTheDrainMustNotEvictIsNamedBesideABudget(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}]\n")
	f.start()
	f.node("worker", nil)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	f.pod("alone", "worker", func(pod *corev1.Pod) { pod.OwnerReferences = nil })
	f.delete("worker")
	f.awaitState("worker", api.Waiting)
	f.eventuallyDiagnoses("worker", "eviction-not-allowed")
	f.run("diagnose", "worker").exits(exit.Unhealthy).says("default/alone (it has no controller", "delete it yourself, or set allowUnmanaged: true in the options of step drain", "default/cart-0 (budget cart allows 0 disruptions")
	f.run("status").exits(exit.Unhealthy).says("Next: kubectl nodecleanup diagnose worker\n")
	f.wantsNoWrites("diagnose", "worker")
}
