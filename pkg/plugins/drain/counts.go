package drain

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// podCounter counts the Pods of one drain.
type podCounter struct {
	// awaited are all Pods that had to leave the Node.
	awaited map[types.UID]bool
	// blocked is since when each Pod has been blocked.
	blocked map[types.UID]time.Time
}

func newPodCounter() podCounter {
	return podCounter{awaited: map[types.UID]bool{}, blocked: map[types.UID]time.Time{}}
}

// count returns how many Pods have left the Node, of all Pods to evict, and the Pod that has been
// blocked longest.
func (c podCounter) count(remaining []*corev1.Pod, blocked func(*corev1.Pod) bool, now time.Time) cleanup.Counts {
	counts := cleanup.Counts{}
	var oldest time.Time
	for _, pod := range remaining {
		c.awaited[pod.UID] = true
		if !blocked(pod) {
			delete(c.blocked, pod.UID)
			continue
		}
		if _, known := c.blocked[pod.UID]; !known {
			c.blocked[pod.UID] = now
		}
		if since := c.blocked[pod.UID]; counts.Blocked == "" || since.Before(oldest) {
			oldest, counts.Blocked = since, nameOf(pod)
		}
	}
	if counts.Blocked != "" {
		counts.BlockedSince = &metav1.Time{Time: oldest}
	}
	counts.Total = len(c.awaited)
	counts.Done = counts.Total - len(remaining)
	return counts
}
