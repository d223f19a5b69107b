package drain

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestNamespaceDeletionBlockers(t *testing.T) {
	condition := func(kind corev1.NamespaceConditionType, status corev1.ConditionStatus, message string) corev1.NamespaceCondition {
		return corev1.NamespaceCondition{Type: kind, Status: status, Message: message}
	}
	for want, conditions := range map[string][]corev1.NamespaceCondition{
		"": {condition(corev1.NamespaceContentRemaining, corev1.ConditionFalse, "all removed")},
		", blocked: pods has 1": {
			condition(corev1.NamespaceDeletionDiscoveryFailure, corev1.ConditionFalse, "discovered"),
			condition(corev1.NamespaceContentRemaining, corev1.ConditionTrue, "pods has 1"),
		},
		", blocked: metrics.k8s.io/v1beta1 is down": {
			condition(corev1.NamespaceFinalizersRemaining, corev1.ConditionTrue, "a finalizer"),
			condition(corev1.NamespaceDeletionDiscoveryFailure, corev1.ConditionTrue, "metrics.k8s.io/v1beta1 is down"),
		},
	} {
		if got := blocking(&corev1.Namespace{Status: corev1.NamespaceStatus{Conditions: conditions}}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
