package api

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestNamespaceBlockerOf(t *testing.T) {
	remaining := corev1.NamespaceCondition{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, Message: "pods. has 1 resource instances"}
	finalizers := corev1.NamespaceCondition{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionTrue, Message: "example.com/hold in 1 resource instances"}
	discovery := corev1.NamespaceCondition{
		Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionTrue,
		Message: "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of server APIs: custom.metrics.k8s.io/v1beta1: stale GroupVersion discovery: custom.metrics.k8s.io/v1beta1, metrics.example.com/v1: the server is currently unable to handle the request",
	}
	healthy := corev1.NamespaceCondition{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse, Message: "All resources successfully discovered"}
	for name, test := range map[string]struct {
		conditions []corev1.NamespaceCondition
		want       NamespaceBlocker
	}{
		"nothing":                {nil, NamespaceBlocker{}},
		"content":                {[]corev1.NamespaceCondition{healthy, remaining}, NamespaceBlocker{Message: remaining.Message}},
		"the cause first":        {[]corev1.NamespaceCondition{remaining, finalizers}, NamespaceBlocker{Message: finalizers.Message}},
		"an API does not answer": {[]corev1.NamespaceCondition{remaining, discovery}, NamespaceBlocker{discovery.Message, []string{"v1beta1.custom.metrics.k8s.io", "v1.metrics.example.com"}}},
	} {
		if got := NamespaceBlockerOf(test.conditions); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}
