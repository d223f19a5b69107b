package drain

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// budgetRemedy returns what an operator can do about a Pod that its budget blocks, as far as the Pod
// and the budgets that are followed tell, after "; ".
func (d *drain) budgetRemedy(pod *corev1.Pod) string {
	if unready := pods.Unready(pod); unready != "" {
		return "; " + unready + ": fix it, or set unhealthyPodEvictionPolicy: AlwaysAllow in the budget"
	}
	if d.budgets == nil {
		return ""
	}
	used, knowledge := d.budgets.of(pod)
	if knowledge != current {
		return ""
	}
	var budgets []policyv1.PodDisruptionBudget
	for _, budget := range used {
		budgets = append(budgets, *budget)
	}
	if blocked := pods.Explain(pod, budgets); blocked != nil {
		return "; " + blocked.Remedy
	}
	return ""
}
