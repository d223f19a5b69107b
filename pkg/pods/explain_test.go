package pods

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestEachCauseHasARemedy(t *testing.T) {
	since := metav1.NewTime(time.Date(2026, 11, 30, 1, 2, 3, 0, time.UTC))
	budget := func(name string, status policyv1.PodDisruptionBudgetStatus) policyv1.PodDisruptionBudget {
		budget := policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Status: status}
		budget.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart"}}
		return budget
	}
	ofDeployment := func(minAvailable intstr.IntOrString) []policyv1.PodDisruptionBudget {
		all := budget("cart", policyv1.PodDisruptionBudgetStatus{ExpectedPods: 3, DesiredHealthy: 3, CurrentHealthy: 3})
		all.Spec.MinAvailable = &minAvailable
		return []policyv1.PodDisruptionBudget{all}
	}
	open := policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1, ExpectedPods: 3, DesiredHealthy: 2, CurrentHealthy: 3}
	strict := policyv1.PodDisruptionBudgetStatus{ExpectedPods: 3, DesiredHealthy: 3, CurrentHealthy: 3}
	short := policyv1.PodDisruptionBudgetStatus{ExpectedPods: 3, DesiredHealthy: 2, CurrentHealthy: 2}
	broken := policyv1.PodDisruptionBudgetStatus{ExpectedPods: 3, DesiredHealthy: 3, CurrentHealthy: 3, Conditions: []metav1.Condition{{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason, Message: "found no controllers",
	}}}
	unhealthy := ofDeployment(intstr.FromInt32(3))
	unhealthy[0].Status.CurrentHealthy = 2
	for name, test := range map[string]struct {
		ready           corev1.ConditionStatus
		budgets         []policyv1.PodDisruptionBudget
		cause           api.BlockedCause
		message, remedy string
	}{
		"nothing":                   {corev1.ConditionTrue, []policyv1.PodDisruptionBudget{budget("cart", open)}, "", "", ""},
		"two that allow":            {corev1.ConditionTrue, []policyv1.PodDisruptionBudget{budget("cart", open), budget("all", open)}, api.BlockedByBudgets, "budgets cart, all select", "get pdb cart all"},
		"not computed":              {corev1.ConditionTrue, []policyv1.PodDisruptionBudget{budget("cart", broken)}, api.BlockedByBudgetStatus, "cannot be computed: found no controllers", "minAvailable"},
		"all wanted":                {corev1.ConditionTrue, []policyv1.PodDisruptionBudget{budget("cart", strict)}, api.BlockedByBudget, "needs 3 healthy, has 3", "change budget cart, which never allows a disruption: kubectl -n shop edit pdb cart"},
		"a number":                  {corev1.ConditionTrue, ofDeployment(intstr.FromInt32(3)), api.BlockedByBudget, "", "add a replica: kubectl -n shop scale deployment cart --replicas=4; or change budget cart, which never allows a disruption: kubectl -n shop edit pdb cart"},
		"a share":                   {corev1.ConditionTrue, ofDeployment(intstr.FromString("100%")), api.BlockedByBudget, "", "change budget cart, which never allows a disruption: kubectl -n shop edit pdb cart"},
		"a number, one not healthy": {corev1.ConditionTrue, unhealthy, api.BlockedByBudget, "needs 3 healthy, has 2", "change budget cart, which never allows a disruption: kubectl -n shop edit pdb cart"},
		"others not ready":          {corev1.ConditionTrue, []policyv1.PodDisruptionBudget{budget("cart", short)}, api.BlockedByBudget, "needs 2 healthy, has 2", "wait until more of its pods (3) are healthy"},
		"not ready":                 {corev1.ConditionFalse, []policyv1.PodDisruptionBudget{budget("cart", policyv1.PodDisruptionBudgetStatus{ExpectedPods: 3, DesiredHealthy: 2, CurrentHealthy: 1})}, api.BlockedByUnready, "the pod has not been ready since 2026-11-30T01:02:03Z", "AlwaysAllow"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-0", Labels: map[string]string{"app": "cart", "pod-template-hash": "7c5d"},
				OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "cart-7c5d", Controller: ptr.To(true)}}}}
			pod.Status.Phase = corev1.PodRunning
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: test.ready, LastTransitionTime: since}}
			blocked := Explain(pod, test.budgets, nil)
			if blocked == nil {
				blocked = &api.Blocker{}
			}
			if blocked.Cause != test.cause || !strings.Contains(blocked.Message, test.message) || !strings.Contains(blocked.Remedy, test.remedy) {
				t.Errorf("got %+v, want %s, %q, %q", blocked, test.cause, test.message, test.remedy)
			}
		})
	}
}
