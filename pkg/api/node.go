package api

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// HasFinalizer reports whether our finalizer is on the object.
func HasFinalizer(object metav1.Object) bool {
	return slices.Contains(object.GetFinalizers(), Finalizer)
}

// NeedsFinalizer reports whether our finalizer must and can be added: a
// terminating object accepts no new finalizer (the API server answers 422).
func NeedsFinalizer(object metav1.Object) bool {
	return object.GetDeletionTimestamp() == nil && !HasFinalizer(object)
}

// OtherFinalizers returns the object's finalizers without ours.
func OtherFinalizers(object metav1.Object) []string {
	var others []string
	for _, finalizer := range object.GetFinalizers() {
		if finalizer != Finalizer {
			others = append(others, finalizer)
		}
	}
	return others
}

// Ready reports whether the Node's kubelet says it is ready.
func Ready(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
