package pods

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFinalizersBlockAfterTheGracePeriod(t *testing.T) {
	now := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		deleted    *metav1.Time
		finalizers []string
		want       string
	}{
		"not deleted":                {nil, []string{"a/b"}, ""},
		"within its grace period":    {&metav1.Time{Time: now.Add(time.Second)}, []string{"a/b"}, ""},
		"after it, no finalizer":     {&metav1.Time{Time: now.Add(-time.Hour)}, nil, ""},
		"at its end, two finalizers": {&metav1.Time{Time: now}, []string{"a/b", "c/d"}, "terminating, blocked by finalizer a/b, c/d"},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-0", DeletionTimestamp: test.deleted, Finalizers: test.finalizers}}
		got := ""
		if blocked := Finalizers(pod, now); blocked != nil {
			got = blocked.Message
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
