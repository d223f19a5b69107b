package checker

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names that the documents define.
const (
	finalizer        = "nodecleanup.io/finalizer"
	bypassAnnotation = "nodecleanup.io/bypass"
	bypassUntil      = "nodecleanup.io/bypass-until"
)

func protected(node *corev1.Node) bool {
	for _, name := range node.Finalizers {
		if name == finalizer {
			return true
		}
	}
	return false
}

// bypassed reports whether an operator has bypassed the cleanup, at a time.
func bypassed(node *corev1.Node, now time.Time) bool {
	if node.Annotations[bypassAnnotation] != "true" {
		return false
	}
	written, limited := node.Annotations[bypassUntil]
	if !limited {
		return true
	}
	until, err := time.Parse(time.RFC3339, written)
	return err == nil && now.Before(until)
}

// drainable reports whether `kubectl drain --ignore-daemonsets --delete-emptydir-data --force`
// would evict the Pod or wait for it.
func drainable(pod *corev1.Pod, node *corev1.Node, now time.Time) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	if _, static := pod.Annotations["kubernetes.io/config.mirror"]; static {
		return false
	}
	if controller := metav1.GetControllerOfNoCopy(pod); controller != nil && controller.Kind == "DaemonSet" {
		return false
	}
	// No kubelet ends a Pod on a Node that does not answer. The timestamp has the grace period in it.
	return pod.DeletionTimestamp == nil || !silent(node) || !pod.DeletionTimestamp.Time.Before(now)
}

// silent reports whether the control plane has marked the Node's kubelet as not answering.
func silent(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionUnknown
		}
	}
	return false
}
