package cordon

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// Tolerated reports whether the pod may be bound to a Node in spite of its cordon.
func Tolerated(pod *corev1.Pod) bool {
	for _, toleration := range pod.Spec.Tolerations {
		key := toleration.Key == corev1.TaintNodeUnschedulable || toleration.Key == ""
		effect := toleration.Effect == corev1.TaintEffectNoSchedule || toleration.Effect == ""
		// The taint has no value.
		value := toleration.Operator == corev1.TolerationOpExists || toleration.Key != "" && toleration.Value == ""
		if key && effect && value {
			return true
		}
	}
	return false
}

// Stays reports whether a Pod that was created after the cordon may stay on the Node. It tolerates
// the cordon and was created for this Node, as Pods of a DaemonSet are. After an eviction, its
// controller would create it here again. Pods of a Deployment or a StatefulSet do not stay.
func Stays(pod *corev1.Pod) bool { return Tolerated(pod) && pods.PinnedByAffinity(pod) }

// At returns when the Node was cordoned, in whole seconds of the API server's clock, from the last
// write of the field. It is zero if the Node is not cordoned or its managed fields do not show the
// time.
func At(node *corev1.Node) time.Time {
	var at time.Time
	if !node.Spec.Unschedulable {
		return at
	}
	for _, entry := range node.ManagedFields {
		if entry.Time != nil && entry.Time.After(at) && api.WroteSpec(entry, "unschedulable") {
			at = entry.Time.Time
		}
	}
	return at
}
