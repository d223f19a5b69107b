package install

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestHoldsMatchesThePodName(t *testing.T) {
	pod := &unstructured.Unstructured{}
	pod.SetName("agent-x2")
	for holder, want := range map[string]bool{"agent-x2": true, "agent-x2_0f3a": true, "agent-x21": false, "agent": false, "laptop": false} {
		if got := holds(pod, holder); got != want {
			t.Errorf("pod agent-x2 holds the lease of %q: %v, want %v", holder, got, want)
		}
	}
}
