package pods

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Or separates the alternatives in a remedy.
const Or = "; or "

// NeverAllows describes a budget that needs all of its Pods, in the remedy.
const NeverAllows = "never allows a disruption"

// NotEvictable describes Pods that the options of a drain neither evict nor leave, in its error. The drain evicts no
// Pod until an operator deletes them or changes the options.
const NotEvictable = "some pods must not be evicted"

// Explain returns the budgets that prevent the eviction of the Pod now, with the remedy. It
// returns nil if none does. If pending Pods that a budget selects do not start, the remedy names
// them: another replica would not start either.
func Explain(pod *corev1.Pod, budgets []policyv1.PodDisruptionBudget, pending []corev1.Pod) *api.Blocker {
	if several := selecting(pod, budgets); len(several) > 1 && budgeted(pod) {
		return &api.Blocker{
			Cause:   api.BlockedByBudgets,
			Message: fmt.Sprintf("budgets %s select the pod, and the eviction API supports one", strings.Join(several, ", ")),
			Remedy:  fmt.Sprintf("delete all but one, or change their selectors: kubectl -n %s get pdb %s", pod.Namespace, strings.Join(several, " ")),
		}
	}
	blocking := Blocking(pod, budgets)
	if len(blocking) == 0 {
		return nil
	}
	budget, status := blocking[0], blocking[0].Status
	describe := fmt.Sprintf("kubectl -n %s describe pdb %s", budget.Namespace, budget.Name)
	// The numbers mean nothing if the budget was not computed.
	if condition := meta.FindStatusCondition(status.Conditions, policyv1.DisruptionAllowedCondition); condition != nil &&
		condition.Status == metav1.ConditionFalse && condition.Reason == policyv1.SyncFailedReason {
		return &api.Blocker{
			Cause:   api.BlockedByBudgetStatus,
			Message: fmt.Sprintf("budget %s cannot be computed: %s", budget.Name, condition.Message),
			Remedy:  "fix what the message names; for Pods whose controller cannot be scaled, set minAvailable to a number and remove maxUnavailable: " + describe,
		}
	}
	message := fmt.Sprintf("budget %s allows 0 disruptions: needs %d healthy, has %d", budget.Name, status.DesiredHealthy, status.CurrentHealthy)
	switch {
	case !Ready(pod):
		return &api.Blocker{
			Cause: api.BlockedByUnready, Message: message + "; " + cmp.Or(Unready(pod), "the pod is not ready"),
			Remedy: fmt.Sprintf("fix the pod: kubectl -n %s describe pod %s%sallow the eviction of unready pods: %s", pod.Namespace, pod.Name, Or, AllowUnready(budget.Namespace, budget.Name)),
		}
	case replacements(budget, pending) != "":
		return &api.Blocker{Cause: api.BlockedByBudget, Message: message, Remedy: replacements(budget, pending)}
	case status.DesiredHealthy >= status.ExpectedPods:
		return &api.Blocker{
			Cause: api.BlockedByBudget, Message: message,
			Remedy: scaleUp(pod, budget) + fmt.Sprintf("change budget %[2]s, which %[3]s: kubectl -n %[1]s edit pdb %[2]s", budget.Namespace, budget.Name, NeverAllows),
		}
	}
	return &api.Blocker{
		Cause: api.BlockedByBudget, Message: message,
		Remedy: fmt.Sprintf("wait until more of its pods (%d) are healthy: %s", status.ExpectedPods, describe),
	}
}

// scaleUp returns the command that gives the budget one more Pod, if that helps: a budget with
// maxUnavailable 0 or minAvailable 100% needs every Pod, however many there are. While a Pod is not
// healthy, one more may not become healthy either.
func scaleUp(pod *corev1.Pod, budget policyv1.PodDisruptionBudget) string {
	controller, managed := Controller(pod)
	if budget.Status.CurrentHealthy < budget.Status.ExpectedPods {
		return ""
	}
	if needed := budget.Spec.MinAvailable; !managed || needed == nil || needed.Type != intstr.Int {
		return ""
	}
	if !slices.Contains([]string{"Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"}, controller.Kind) {
		return ""
	}
	return fmt.Sprintf("add a replica: kubectl -n %s scale %s %s --replicas=%d%s", controller.Namespace, strings.ToLower(controller.Kind), controller.Name, budget.Status.ExpectedPods+1, Or)
}

// AllowUnready returns the command after which a budget allows the eviction of Pods that are not ready.
func AllowUnready(namespace, budget string) string {
	return fmt.Sprintf(`kubectl -n %s patch pdb %s --type merge -p '{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}'`, namespace, budget)
}

// Unready describes since when the Pod is not ready. It is empty if the kubelet has not reported
// it.
func Unready(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status != corev1.ConditionTrue && !condition.LastTransitionTime.IsZero() {
			return "the pod has not been ready since " + condition.LastTransitionTime.UTC().Format(time.RFC3339)
		}
	}
	return ""
}

// budgeted reports whether the API server asks budgets before it evicts the Pod.
func budgeted(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodPending && !Finished(pod) && !Terminating(pod)
}

// selecting returns the names of the budgets that select the Pod.
func selecting(pod *corev1.Pod, budgets []policyv1.PodDisruptionBudget) []string {
	var names []string
	for _, budget := range budgets {
		if selects(budget, pod) {
			names = append(names, budget.Name)
		}
	}
	return names
}
