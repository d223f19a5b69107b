package pods

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
)

// namedPending is how many pending Pods are named.
const namedPending = 3

// replacements describes the pending Pods that the budget selects, why they do not start, and how
// to find out more. It is empty if there are none.
func replacements(budget policyv1.PodDisruptionBudget, pending []corev1.Pod) string {
	var names []string
	why, fix, number := "", "", 0
	for i := range pending {
		pod := &pending[i]
		reason, noRoom := notStarting(pod)
		if reason == "" || pod.DeletionTimestamp != nil || !selects(budget, pod) {
			continue
		}
		if number++; number <= namedPending {
			names = append(names, pod.Name)
		}
		if why == "" {
			why = reason
			if noRoom {
				fix = "add a node or make room: "
			}
		}
	}
	if number == 0 {
		return ""
	}
	if number > namedPending {
		names = append(names, "…")
	}
	noun := "pod that the budget selects is"
	if number > 1 {
		noun = "pods that the budget selects are"
	}
	return fmt.Sprintf("%d %s Pending: %s (%s); %skubectl -n %s describe pod %s",
		number, noun, strings.Join(names, ", "), why, fix, budget.Namespace, names[0])
}

// notStarting returns why a pending Pod does not start, in the words of the scheduler or of the
// kubelet, and whether no Node has room for it. The reason is empty if the Pod is about to start.
func notStarting(pod *corev1.Pod) (reason string, noRoom bool) {
	if pod.Status.Phase != corev1.PodPending {
		return "", false
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return firstLine(condition.Reason, condition.Message), condition.Reason == corev1.PodReasonUnschedulable
		}
	}
	for _, container := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if why, _ := NotReady(container); why != "" {
			return why, false
		}
	}
	return "", false
}

func firstLine(reason, message string) string {
	line, _, _ := strings.Cut(message, "\n")
	return strings.Trim(reason+": "+line, ": ")
}
