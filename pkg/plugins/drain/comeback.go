package drain

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cordon"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// comeback is what the drain knows of a controller whose Pods came after the cordon. It is
// kept for the controller and not for the Pod: each eviction makes a Pod with a new UID.
type comeback struct {
	// evictions is how often its Pods were evicted again, all that were there at a time.
	evictions int
	// next is when that is allowed again.
	next time.Time
}

// comebackDelays are the waits before the Pods of a controller are evicted again. There is no
// further eviction in the same call of Cleanup. The first wait is for Pods that are replaced
// at the same time. The second eviction has a chance: the scheduler may choose another Node.
var comebackDelays = []time.Duration{time.Second, 10 * time.Second}

// holdBack returns the Pods without those whose controller has put them back on the Node and
// whose next eviction is not due.
func (d *drain) holdBack(evict []*corev1.Pod, late map[types.UID]bool, now time.Time) []*corev1.Pod {
	due := map[api.Object]bool{}
	return slices.DeleteFunc(evict, func(pod *corev1.Pod) bool {
		controller, managed := pods.Controller(pod)
		if !managed || !late[pod.UID] || pods.Terminating(pod) || d.tries[pod.UID] != nil {
			return false
		}
		known := d.comebacks[controller]
		if known == nil {
			known = &comeback{next: now.Add(comebackDelays[0])}
			d.comebacks[controller] = known
		}
		switch {
		case due[controller]:
			return false
		case known.spent():
			return true
		case now.Before(known.next):
			d.lookAgain(known.next)
			return true
		}
		due[controller] = true
		known.evictions++
		if known.spent() {
			d.target.Log.Warn("a controller puts its Pods back on the node; they are not evicted again in this attempt", "kind", controller.Kind, "controller", controller.String())
		} else {
			known.next = now.Add(comebackDelays[known.evictions])
		}
		return false
	})
}

func (c *comeback) spent() bool { return c.evictions == len(comebackDelays) }

// puttingBack returns why a Pod that is held back is there, or "".
func (d *drain) puttingBack(pod *corev1.Pod) string {
	controller, _ := pods.Controller(pod)
	known := d.comebacks[controller]
	switch {
	case known == nil || known.evictions == 0:
		return ""
	case known.spent():
		return putsBack(controller) + "; no further eviction in this attempt"
	}
	return putsBack(controller)
}

func putsBack(controller api.Object) string {
	return fmt.Sprintf("controller %s %s puts its Pods back on this node", controller.Kind, controller)
}

// foresee adds to the eviction of a Pod what its controller does after it.
func foresee(effect *cleanup.Effect, pod *corev1.Pod) {
	if effect.Action != cleanup.Evict || effect.Blocked != nil {
		return
	}
	controller, managed := pods.Controller(pod)
	switch {
	case pods.Pinned(pod):
		effect.Blocked = &cleanup.Blocker{Cause: cleanup.BlockedByController, Message: putsBack(controller) + ": its Pod template sets spec.nodeName"}
		effect.Reason = ""
	case managed && cordon.Tolerated(pod):
		risk := fmt.Sprintf("controller %s %s may put it back on this node, it tolerates the cordon", controller.Kind, controller)
		if effect.Reason != "" {
			risk = effect.Reason + "; " + risk
		}
		effect.Reason = risk
	}
}
