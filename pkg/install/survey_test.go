package install

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
)

func TestLeaseHolder(t *testing.T) {
	now := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	lease := func(holder string, age time.Duration) coordinationv1.LeaseSpec {
		return coordinationv1.LeaseSpec{
			HolderIdentity: &holder, LeaseDurationSeconds: ptr.To[int32](15), RenewTime: ptr.To(metav1.NewMicroTime(now.Add(-age))),
		}
	}
	for name, test := range map[string]struct {
		spec coordinationv1.LeaseSpec
		want string
	}{
		"renewed":       {lease("a", 15*time.Second), "a"},
		"stale":         {lease("a", 16*time.Second), ""},
		"given back":    {lease("", time.Second), ""},
		"never renewed": {coordinationv1.LeaseSpec{HolderIdentity: ptr.To("a")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := LeaseHolder(&coordinationv1.Lease{Spec: test.spec}, now); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestHolds(t *testing.T) {
	pod := &unstructured.Unstructured{}
	pod.SetName("agent-x2")
	for holder, want := range map[string]bool{"agent-x2": true, "agent-x2_0f3a": true, "agent-x21": false, "agent": false, "laptop": false} {
		if got := holds(pod, holder); got != want {
			t.Errorf("pod agent-x2 holds the lease of %q: %v, want %v", holder, got, want)
		}
	}
}
