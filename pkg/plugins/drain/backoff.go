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

// controllerBackoff limits the evictions of Pods that a controller puts back on the Node. It counts
// by controller, because each eviction leads to a Pod with a new UID.
type controllerBackoff struct {
	// evictions counts how often its present Pods were evicted, all of them as one.
	evictions int
	// next is the earliest time of the next eviction.
	next time.Time
}

// controllerDelays are the waits before the drain evicts the Pods of a controller again, at most as
// often in one call of Cleanup. During the first wait, Pods that the controller replaces at the same
// time arrive. The second eviction can help: the scheduler may choose another Node.
var controllerDelays = []time.Duration{time.Second, 10 * time.Second}

// backOff returns the Pods to evict now. It omits recreated Pods during the backoff of their
// controller.
func (d *drain) backOff(evict []*corev1.Pod, late map[types.UID]bool, now time.Time) []*corev1.Pod {
	due := map[api.Object]bool{}
	return slices.DeleteFunc(evict, func(pod *corev1.Pod) bool {
		controller, managed := pods.Controller(pod)
		if !managed || !late[pod.UID] || pods.Terminating(pod) || d.evictions[pod.UID] != nil {
			return false
		}
		backoff := d.controllers[controller]
		if backoff == nil {
			backoff = &controllerBackoff{next: now.Add(controllerDelays[0])}
			d.controllers[controller] = backoff
		}
		switch {
		case due[controller]:
			return false
		case backoff.exhausted():
			return true
		case now.Before(backoff.next):
			d.requeueAt(backoff.next)
			return true
		}
		due[controller] = true
		backoff.evictions++
		if backoff.exhausted() {
			d.target.Log.Warn("a controller puts its Pods back on the node; they are not evicted again in this attempt", "kind", controller.Kind, "controller", controller.String())
		} else {
			backoff.next = now.Add(controllerDelays[backoff.evictions])
		}
		return false
	})
}

func (b *controllerBackoff) exhausted() bool { return b.evictions == len(controllerDelays) }

// recreatedBy names the controller that puts the Pod back on the Node, or returns "".
func (d *drain) recreatedBy(pod *corev1.Pod) string {
	controller, _ := pods.Controller(pod)
	backoff := d.controllers[controller]
	switch {
	case backoff == nil || backoff.evictions == 0:
		return ""
	case backoff.exhausted():
		return putsPodsBack(controller) + "; no further eviction in this attempt"
	}
	return putsPodsBack(controller)
}

func putsPodsBack(controller api.Object) string {
	return fmt.Sprintf("controller %s %s puts its Pods back on this node", controller.Kind, controller)
}

// predictReturn adds to the effect that the Pod's controller will, or may, put it back on the Node.
func predictReturn(effect *cleanup.Effect, pod *corev1.Pod) {
	if effect.Action != cleanup.Evict || effect.Blocked != nil {
		return
	}
	controller, managed := pods.Controller(pod)
	switch {
	case pods.Pinned(pod):
		effect.Blocked = &cleanup.Blocker{Cause: cleanup.BlockedByController, Message: putsPodsBack(controller) + ": its Pod template sets spec.nodeName"}
		effect.Reason = ""
	case managed && cordon.Tolerated(pod):
		risk := fmt.Sprintf("controller %s %s may put it back on this node, it tolerates the cordon", controller.Kind, controller)
		if effect.Reason != "" {
			risk = effect.Reason + "; " + risk
		}
		effect.Reason = risk
	}
}
