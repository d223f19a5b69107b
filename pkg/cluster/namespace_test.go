package cluster

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestHeldBy(t *testing.T) {
	remaining := corev1.NamespaceCondition{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, Message: "pods. has 1 resource instances"}
	discovery := corev1.NamespaceCondition{
		Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionTrue,
		Message: "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of server APIs: custom.metrics.k8s.io/v1beta1: stale GroupVersion discovery: custom.metrics.k8s.io/v1beta1, metrics.example.com/v1: the server is currently unable to handle the request",
	}
	well := corev1.NamespaceCondition{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse, Message: "All resources successfully discovered"}
	for name, test := range map[string]struct {
		conditions []corev1.NamespaceCondition
		want       Held
	}{
		"nothing":                {nil, Held{}},
		"content":                {[]corev1.NamespaceCondition{well, remaining}, Held{Message: remaining.Message}},
		"an API does not answer": {[]corev1.NamespaceCondition{remaining, discovery}, Held{discovery.Message, []string{"v1beta1.custom.metrics.k8s.io", "v1.metrics.example.com"}}},
	} {
		if got := HeldBy(test.conditions); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}
