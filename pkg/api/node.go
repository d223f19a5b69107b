package api

import (
	"fmt"
	"slices"
	"strconv"
	"time"

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

// OtherFinalizers returns the finalizers on the object that are not ours.
func OtherFinalizers(object metav1.Object) []string {
	var others []string
	for _, finalizer := range object.GetFinalizers() {
		if finalizer != Finalizer {
			others = append(others, finalizer)
		}
	}
	return others
}

// Bypass says whether a Node may go without cleanup, and what was said about it.
type Bypass struct {
	// Active: the annotation is set and has not expired.
	Active bool
	// Reason in the operator's words, empty when none was given.
	Reason string
}

// BypassOf reads the bypass annotations of a Node at a time. What cannot be
// read (a value that is no boolean, a time that does not parse) is an error
// and never an active bypass: in doubt the finalizer stays.
func BypassOf(object metav1.Object, now time.Time) (Bypass, error) {
	annotations := object.GetAnnotations()
	value, set := annotations[AnnotationBypass]
	if !set {
		return Bypass{}, nil
	}
	bypass := Bypass{Reason: annotations[AnnotationBypassReason]}
	wanted, err := strconv.ParseBool(value)
	if err != nil {
		return bypass, fmt.Errorf("reading annotation %s: %q is neither true nor false", AnnotationBypass, value)
	}
	if until, limited := annotations[AnnotationBypassUntil]; limited {
		end, err := time.Parse(time.RFC3339, until)
		if err != nil {
			return bypass, fmt.Errorf("reading annotation %s: %q is no RFC 3339 time such as 2026-01-31T04:00:00Z", AnnotationBypassUntil, until)
		}
		wanted = wanted && now.Before(end)
	}
	bypass.Active = wanted
	return bypass, nil
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
