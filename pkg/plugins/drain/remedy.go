package drain

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// budgetRemedy returns the remedy for a Pod that its budget blocks, after "; ". It is empty if the
// Pod and the watched budgets do not show the cause.
func (d *drain) budgetRemedy(pod *corev1.Pod) string {
	if unready := pods.Unready(pod); unready != "" {
		return "; " + unready + ": fix it, or set unhealthyPodEvictionPolicy: AlwaysAllow in the budget"
	}
	if d.budgets == nil {
		return ""
	}
	used, cache := d.budgets.of(pod)
	if cache != synced {
		return ""
	}
	var budgets []policyv1.PodDisruptionBudget
	for _, budget := range used {
		budgets = append(budgets, *budget)
	}
	if blocked := pods.Explain(pod, budgets, nil); blocked != nil {
		return "; " + blocked.Remedy
	}
	return ""
}
