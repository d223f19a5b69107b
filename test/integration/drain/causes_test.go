package drain_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Each cause of a blocked eviction has its own remedy, in a preview and in the progress of the
// drain.
func TestBlockedEvictionNamesItsRemedy(t *testing.T) {
	f := setUp(t)
	for _, name := range []string{"odd", "crash", "twice", "strict", "denied", "unreachable"} {
		f.pod(name, f.node, labelled(name))
	}
	f.budgetThatCannotBeComputed("odd")
	f.unready("crash")
	f.budgetOf("crash", 1, 0)
	f.budget("twice", 0)
	f.budgetFor("twice-too", "twice", 0)
	f.budget("strict", 1)
	f.denyEvictionsOf("denied")
	f.breakEvictionsOf("unreachable")

	causes := map[string]struct {
		cause             cleanup.Blocker
		message, progress string
	}{
		"odd":         {cleanup.Blocker{Cause: cleanup.BlockedByBudgetStatus, Remedy: "set minAvailable to a number"}, "budget odd cannot be computed: ", "cannot be scaled, set minAvailable to a number"},
		"crash":       {cleanup.Blocker{Cause: cleanup.BlockedByUnready, Remedy: `"unhealthyPodEvictionPolicy":"AlwaysAllow"`}, "needs 1 healthy pods and has 0 currently", "the pod has not been ready since 2026-11-30T01:02:03Z: fix it, or set unhealthyPodEvictionPolicy: AlwaysAllow"},
		"twice":       {cleanup.Blocker{Cause: cleanup.BlockedByBudgets, Remedy: "delete all but one, or change their selectors: kubectl -n " + f.namespace + " get pdb twice twice-too"}, "more than one budget", "more than one budget selects it"},
		"strict":      {cleanup.Blocker{Cause: cleanup.BlockedByBudget, Remedy: "change budget strict, which never allows a disruption"}, "needs 1 healthy pods and has 1 currently", "strict needs 1 healthy pods and has 1 currently"},
		"denied":      {cleanup.Blocker{Cause: cleanup.BlockedByAdmission, Remedy: "kubectl describe validatingadmissionpolicy " + f.namespace}, "no evictions today", "kubectl describe validatingadmissionpolicy " + f.namespace},
		"unreachable": {cleanup.Blocker{Cause: cleanup.BlockedByWebhook, Remedy: "fix the service behind admission webhook evictions.example.com"}, "connection refused", "fix the service behind admission webhook evictions.example.com"},
	}
	effects, err := f.plugin("").(cleanup.Previewer).Preview(t.Context(), f.target())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, effect := range effects {
		want, is := causes[effect.Object.Name]
		if !is {
			continue
		}
		seen++
		if got := effect.Blocked; got == nil || got.Cause != want.cause.Cause || !strings.Contains(got.Remedy, want.cause.Remedy) || !strings.Contains(got.Message, want.message) {
			t.Errorf("%s is blocked by %+v, want %+v with message %q", effect.Object.Name, got, want.cause, want.message)
		}
	}
	if seen != len(causes) {
		t.Errorf("the effects are %v", effects)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.plugin("").Cleanup(ctx, f.target()) }()
	for _, name := range slices.Sorted(maps.Keys(causes)) {
		f.eventually("the progress says why pod "+name+" is blocked", func(context.Context) (bool, error) { return f.said(causes[name].progress), nil })
		if name == "unreachable" {
			break // The drain has to wait until the end.
		}
		// The progress has no room for so many reasons, so this one makes room.
		if err := f.client.CoreV1().Pods(f.namespace).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
			t.Fatal(err)
		}
	}
	stopped := errors.New("the test has seen enough")
	cancel(stopped)
	if err := <-ended; !errors.Is(err, stopped) {
		t.Errorf("the drain did not wait, it ended with %v", err)
	}
}

// budgetThatCannotBeComputed: for maxUnavailable the controller needs the scale of the Pods' owner,
// and this one has none.
func (f *fixture) budgetThatCannotBeComputed(app string) {
	f.Helper()
	budgets := f.client.PolicyV1().PodDisruptionBudgets(f.namespace)
	if _, err := budgets.Create(f.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.eventually("the budget has failed to sync", func(ctx context.Context) (bool, error) {
		budget, err := budgets.Get(ctx, app, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		condition := meta.FindStatusCondition(budget.Status.Conditions, policyv1.DisruptionAllowedCondition)
		return condition != nil && condition.Reason == policyv1.SyncFailedReason, nil
	})
}

// unready makes a Pod that runs not ready.
func (f *fixture) unready(name string) {
	f.Helper()
	patch := `{"status":{"conditions":[{"type":"Ready","status":"False","lastTransitionTime":"2026-11-30T01:02:03Z"}]}}`
	if _, err := f.client.CoreV1().Pods(f.namespace).Patch(f.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		f.Fatal(err)
	}
}

// budgetOf creates a budget that needs more healthy Pods than exist.
func (f *fixture) budgetOf(app string, wanted, healthy int32) {
	f.Helper()
	budgets := f.client.PolicyV1().PodDisruptionBudgets(f.namespace)
	if _, err := budgets.Create(f.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(wanted)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.eventually("the budget has counted its pods", func(ctx context.Context) (bool, error) {
		budget, err := budgets.Get(ctx, app, metav1.GetOptions{})
		return err == nil && budget.Status.ObservedGeneration == budget.Generation && budget.Status.ExpectedPods > 0 && budget.Status.CurrentHealthy == healthy, err
	})
}

// here selects the namespace of the test.
func (f *fixture) here() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: f.namespace}}
}

var anyEviction = admissionv1.RuleWithOperations{
	Operations: []admissionv1.OperationType{admissionv1.Create},
	Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/eviction"}},
}

// denyEvictionsOf has a policy deny the evictions of one Pod.
func (f *fixture) denyEvictionsOf(pod string) {
	f.Helper()
	f.deny(anyEviction, "object.metadata.name != '"+pod+"'", "no evictions today")
	f.awaitRefusal(pod)
}

// deny has a policy deny requests in the namespace of the test, until the test ends.
func (f *fixture) deny(rule admissionv1.RuleWithOperations, unless, message string) {
	f.Helper()
	policies, bindings := f.client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), f.client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	if _, err := policies.Create(f.Context(), &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: f.namespace},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: f.here(), ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: rule}},
			},
			Validations: []admissionv1.Validation{{Expression: unless, Message: message}},
		},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	if _, err := bindings.Create(f.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: f.namespace},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: f.namespace, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx := context.WithoutCancel(f.Context())
		if err := errors.Join(bindings.Delete(ctx, f.namespace, metav1.DeleteOptions{}), policies.Delete(ctx, f.namespace, metav1.DeleteOptions{})); err != nil {
			f.Error(err)
		}
	})
}

// breakEvictionsOf makes the evictions of one Pod call a webhook that does not answer.
func (f *fixture) breakEvictionsOf(pod string) {
	f.Helper()
	webhooks := f.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := webhooks.Create(f.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: f.namespace},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "evictions.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionv1.SideEffectClassNone),
			ClientConfig:  admissionv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/")},
			FailurePolicy: ptr.To(admissionv1.Fail), NamespaceSelector: f.here(), Rules: []admissionv1.RuleWithOperations{anyEviction},
			MatchConditions: []admissionv1.MatchCondition{{Name: "pod", Expression: "request.name == '" + pod + "'"}},
		}},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := webhooks.Delete(context.WithoutCancel(f.Context()), f.namespace, metav1.DeleteOptions{}); err != nil {
			f.Error(err)
		}
	})
	f.awaitRefusal(pod)
}

// awaitRefusal waits until the API server refuses the eviction of a Pod.
func (f *fixture) awaitRefusal(pod string) {
	f.Helper()
	f.eventually("the eviction of pod "+pod+" is refused", func(ctx context.Context) (bool, error) {
		err := f.client.CoreV1().Pods(f.namespace).EvictV1(ctx, &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: pod}, DeleteOptions: &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}},
		})
		return err != nil, nil
	})
}
