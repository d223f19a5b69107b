package pods

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestPendingReplacementsAreNamed(t *testing.T) {
	const noNode = "0/1 nodes are available: 1 node(s) were unschedulable.\npreemption: none"
	pod := func(name, app string, status corev1.PodStatus) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": app},
			OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: app, Controller: ptr.To(true)}}}, Status: status}
	}
	unschedulable := corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: noNode}}}
	waits := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}}
	}
	crashed := waits("CrashLoopBackOff", "back-off 10s restarting failed container")
	crashed.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 2, Message: "no license"}
	one, all := intstr.FromInt32(3), []corev1.Pod{pod("cart-3", "cart", unschedulable), pod("cart-4", "cart", unschedulable), pod("cart-5", "cart", unschedulable), pod("cart-6", "cart", unschedulable)}
	terminating := pod("cart-3", "cart", unschedulable)
	terminating.DeletionTimestamp = &metav1.Time{}
	const scale = "add a replica: kubectl -n shop scale statefulset cart --replicas=4; or change budget cart, which never allows a disruption: kubectl -n shop edit pdb cart"
	for name, test := range map[string]struct {
		pending []corev1.Pod
		want    string
	}{
		"none":        {nil, scale},
		"of others":   {[]corev1.Pod{pod("web-0", "web", unschedulable)}, scale},
		"starting":    {[]corev1.Pod{pod("cart-3", "cart", waits("ContainerCreating", ""))}, scale},
		"terminating": {[]corev1.Pod{terminating}, scale},
		"one": {all[:1], "1 pod that the budget selects is Pending: cart-3 (Unschedulable: 0/1 nodes are available: 1 node(s) were unschedulable.); " +
			"add a node or make room: kubectl -n shop describe pod cart-3"},
		"many": {all, "4 pods that the budget selects are Pending: cart-3, cart-4, cart-5, … (Unschedulable: 0/1 nodes are available: 1 node(s) were unschedulable.); " +
			"add a node or make room: kubectl -n shop describe pod cart-3"},
		"no image": {[]corev1.Pod{pod("cart-3", "cart", waits("ImagePullBackOff", "not found"))},
			"1 pod that the budget selects is Pending: cart-3 (ImagePullBackOff: not found); kubectl -n shop describe pod cart-3"},
		"crashed": {[]corev1.Pod{pod("cart-3", "cart", crashed)},
			"1 pod that the budget selects is Pending: cart-3 (CrashLoopBackOff: exit code 2: no license); kubectl -n shop describe pod cart-3"},
	} {
		t.Run(name, func(t *testing.T) {
			budget := policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}, Status: policyv1.PodDisruptionBudgetStatus{ExpectedPods: 3, DesiredHealthy: 3, CurrentHealthy: 3}}
			budget.Spec.MinAvailable, budget.Spec.Selector = &one, &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart"}}
			running := pod("cart-0", "cart", corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}})
			blocked := Explain(&running, []policyv1.PodDisruptionBudget{budget}, test.pending)
			if blocked == nil || blocked.Remedy != test.want {
				t.Errorf("got %+v, want\n%s", blocked, test.want)
			}
		})
	}
}
