package pods

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Blocking returns the budgets that prevent the eviction of the Pod now, by the rules of the API
// server (pkg/registry/core/pod/storage/eviction.go). A dry-run eviction is exact, but needs the
// right to evict. This function serves callers without that right.
func Blocking(pod *corev1.Pod, budgets []policyv1.PodDisruptionBudget) []policyv1.PodDisruptionBudget {
	var found []policyv1.PodDisruptionBudget
	for _, budget := range budgets {
		if budget.Status.DisruptionsAllowed <= 0 && UsesBudget(pod, budget) {
			found = append(found, budget)
		}
	}
	return found
}

// Object names the Pod for an effect.
func Object(pod *corev1.Pod) api.Object {
	return api.Object{Kind: api.KindPod, Namespace: pod.Namespace, Name: pod.Name}
}

// UsesBudget reports whether the API server asks the budget before it evicts the Pod.
func UsesBudget(pod *corev1.Pod, budget policyv1.PodDisruptionBudget) bool {
	if !budgeted(pod) || !selects(budget, pod) {
		return false
	}
	if Ready(pod) {
		return true
	}
	if policy := budget.Spec.UnhealthyPodEvictionPolicy; policy != nil && *policy == policyv1.AlwaysAllow {
		return false
	}
	status := budget.Status
	return status.DesiredHealthy == 0 || status.CurrentHealthy < status.DesiredHealthy
}

// Ready reports whether the Pod is ready, which budgets call healthy.
func Ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func selects(budget policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	if budget.Namespace != pod.Namespace {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	// The API server validates selectors; an invalid one selects nothing.
	return err == nil && selector.Matches(labels.Set(pod.Labels))
}
