// Package pods classifies Pods. The drain, the volumes plugin, the delete guard and
// diagnose share these answers, so that they never disagree about one Pod.
//
// Predicates about metadata take a metav1.Object: the guard reads only metadata.
package pods

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Finished reports whether all containers of the Pod have ended for good. The kubelet
// unmounts its volumes, and no budget counts it.
func Finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Terminating reports whether the Pod was deleted and still exists.
func Terminating(pod metav1.Object) bool { return pod.GetDeletionTimestamp() != nil }

// Mirror reports whether the Pod mirrors a static Pod of the kubelet, which creates it
// again whenever it is deleted. As for the kubelet, the presence of the annotation
// decides, not its value (IsMirrorPod in k8s.io/kubernetes/pkg/kubelet/types).
func Mirror(pod metav1.Object) bool {
	_, found := pod.GetAnnotations()[corev1.MirrorPodAnnotationKey]
	return found
}

// OfDaemonSet reports whether a DaemonSet controls the Pod. That controller ignores
// cordons and would create the Pod again on the same Node.
func OfDaemonSet(pod metav1.Object) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == "DaemonSet"
}

// NodeBound reports whether the Pod belongs to its Node, so that no drain can move it:
// a mirror Pod, or a Pod of a DaemonSet.
func NodeBound(pod metav1.Object) bool { return Mirror(pod) || OfDaemonSet(pod) }

// Movable reports whether a drain must get the Pod off its Node: it runs there, or is
// about to, and is not bound to the Node. Terminating Pods are movable: a drain waits
// for them.
func Movable(pod *corev1.Pod) bool { return !Finished(pod) && !NodeBound(pod) }
