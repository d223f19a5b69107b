package pods

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestBlockingBudgets(t *testing.T) {
	type change struct {
		pod    func(*corev1.Pod)
		budget func(*policyv1.PodDisruptionBudget)
	}
	unready := func(pod *corev1.Pod) { pod.Status.Conditions = nil }
	for name, test := range map[string]struct {
		change
		want bool
	}{
		"ready":                               {change{}, true},
		"pending":                             {change{pod: func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }}, false},
		"finished":                            {change{pod: func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }}, false},
		"terminating":                         {change{pod: func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }}, false},
		"not selected":                        {change{pod: func(p *corev1.Pod) { p.Labels = nil }}, false},
		"another namespace":                   {change{pod: func(p *corev1.Pod) { p.Namespace = "ops" }}, false},
		"a disruption is left":                {change{budget: func(b *policyv1.PodDisruptionBudget) { b.Status.DisruptionsAllowed = 1 }}, false},
		"unready, enough others are healthy":  {change{pod: unready}, false},
		"unready, too few others are healthy": {change{unready, func(b *policyv1.PodDisruptionBudget) { b.Status.CurrentHealthy = 0 }}, true},
		"unready, the budget needs no healthy pod": {change{unready, func(b *policyv1.PodDisruptionBudget) { b.Status.DesiredHealthy = 0 }}, true},
		"unready, AlwaysAllow": {change{unready, func(b *policyv1.PodDisruptionBudget) {
			b.Status.CurrentHealthy, b.Spec.UnhealthyPodEvictionPolicy = 0, ptr.To(policyv1.AlwaysAllow)
		}}, false},
		"an empty selector selects all": {change{budget: func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = &metav1.LabelSelector{} }}, true},
		"no selector selects none":      {change{budget: func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = nil }}, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-0", Labels: map[string]string{"app": "cart"}}}
			pod.Status.Phase = corev1.PodRunning
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			budget := policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}}
			budget.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart"}}
			budget.Status = policyv1.PodDisruptionBudgetStatus{DesiredHealthy: 1, CurrentHealthy: 1}
			if test.pod != nil {
				test.pod(pod)
			}
			if test.budget != nil {
				test.budget(&budget)
			}
			found := Blocking(pod, []policyv1.PodDisruptionBudget{budget})
			if (len(found) > 0) != test.want {
				t.Errorf("blocked by %d budgets", len(found))
			}
			if blocked := Explain(pod, []policyv1.PodDisruptionBudget{budget}, nil); (blocked != nil) != test.want {
				t.Errorf("explained as %+v", blocked)
			} else if blocked != nil && (!strings.HasPrefix(blocked.Message, "budget cart allows 0 disruptions: needs ") || blocked.Remedy == "") {
				t.Errorf("explained as %+v", blocked)
			}
		})
	}
}
