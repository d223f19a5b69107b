package drain

import (
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestCounts(t *testing.T) {
	start := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
	}
	a, b, c := pod("a"), pod("b"), pod("c")
	since := func(seconds int) *metav1.Time {
		return &metav1.Time{Time: start.Add(time.Duration(seconds) * time.Second)}
	}
	counter := newPodCounter()
	for i, step := range []struct {
		left    []*corev1.Pod
		blocked map[*corev1.Pod]bool
		want    cleanup.Counts
	}{
		{[]*corev1.Pod{a, b}, nil, cleanup.Counts{Total: 2}},
		{[]*corev1.Pod{a, b}, map[*corev1.Pod]bool{b: true}, cleanup.Counts{Total: 2, Blocked: "shop/b", BlockedSince: since(1)}},
		{[]*corev1.Pod{a, b}, map[*corev1.Pod]bool{a: true, b: true}, cleanup.Counts{Total: 2, Blocked: "shop/b", BlockedSince: since(1)}},
		// One that comes later counts, too.
		{[]*corev1.Pod{a, b, c}, map[*corev1.Pod]bool{a: true}, cleanup.Counts{Total: 3, Blocked: "shop/a", BlockedSince: since(2)}},
		{[]*corev1.Pod{b, c}, map[*corev1.Pod]bool{b: true}, cleanup.Counts{Done: 1, Total: 3, Blocked: "shop/b", BlockedSince: since(4)}},
		{nil, nil, cleanup.Counts{Done: 3, Total: 3}},
	} {
		got := counter.count(step.left, func(pod *corev1.Pod) bool { return step.blocked[pod] }, since(i).Time)
		if !reflect.DeepEqual(got, step.want) {
			t.Errorf("after %d s: got %+v, want %+v", i, got, step.want)
		}
	}
}
