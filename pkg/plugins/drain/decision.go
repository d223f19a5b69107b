package drain

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cordon"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// action is the drain's action for a Pod.
type action string

const (
	// evict the Pod and wait for it.
	evict action = "evict"
	// await: the Pod terminates or completes by itself.
	await action = "await"
	// leave the Pod on the Node.
	leave action = "leave"
	// restart the rollout of the Pod's controller, which replaces the Pod.
	restart action = "restart"
	// refuse: the Pod may neither stay nor be evicted, so the drain evicts nothing.
	refuse action = "refuse"
)

// decision is the drain's action for a Pod, with its reason.
type decision struct {
	action action
	// reason in a few words, empty for an ordinary pod.
	reason string
	// option names the option that would allow the eviction, if the action is refuse.
	option string
}

// circumstances are the facts besides the Pod on which a decision depends.
type circumstances struct {
	// unreachable: the kubelet does not answer, so no Pod finishes terminating.
	unreachable bool
	now         time.Time
	// began is when the first attempt of the step did.
	began time.Time
	// cordoned is when the Node was cordoned, zero if unknown.
	cordoned time.Time
	// late: the Pod came after the cordon.
	late bool
}

// circumstancesOf returns the circumstances of all Pods of the Node.
func circumstancesOf(node *corev1.Node, target cleanup.Target, now time.Time) circumstances {
	return circumstances{unreachable: unreachable(node), now: now, began: target.Began.Truncate(time.Second), cordoned: cordon.At(node)}
}

// cameLate reports whether the Pod was created after the cordon, or in the same second.
func (in circumstances) cameLate(pod *corev1.Pod) bool {
	return !in.cordoned.IsZero() && !pod.CreationTimestamp.Time.Before(in.cordoned)
}

// decide applies rules in order; the first that applies to the pod decides. kubectl drain
// has the same rules (k8s.io/kubectl/pkg/drain/filters.go).
func (o options) decide(pod *corev1.Pod, in circumstances) decision {
	for _, rule := range []func(*corev1.Pod, circumstances) (decision, bool){
		finished, mirror, o.skipped, o.daemon, terminating, o.untilCompleted, o.unmanaged, returned, o.emptyDir,
	} {
		if decision, applies := rule(pod, in); applies {
			return decision
		}
	}
	return decision{action: o.removal(pod), reason: o.orderReason(pod)}
}

func finished(pod *corev1.Pod, _ circumstances) (decision, bool) {
	return decision{action: leave, reason: "finished"}, pods.Finished(pod)
}

func mirror(pod *corev1.Pod, _ circumstances) (decision, bool) {
	return decision{action: leave, reason: "static"}, pods.Mirror(pod)
}

// daemon evicts Pods of DaemonSets that were created before the step began, if the options allow
// it. Later Pods are their replacements.
func (o options) daemon(pod *corev1.Pod, in circumstances) (decision, bool) {
	switch {
	case !pods.OfDaemonSet(pod):
		return decision{}, false
	case o.DaemonSets != evictLast || !pod.CreationTimestamp.Time.Before(in.began):
		return decision{action: leave, reason: "DaemonSet"}, true
	case pods.Terminating(pod):
		return decision{}, false
	}
	return decision{action: evict, reason: "DaemonSet, evicted last"}, true
}

func terminating(pod *corev1.Pod, in circumstances) (decision, bool) {
	if !pods.Terminating(pod) {
		return decision{}, false
	}
	if in.unreachable {
		// deletionTimestamp includes the grace period.
		if pod.DeletionTimestamp.Time.Before(in.now) {
			return decision{action: leave, reason: "terminating on an unreachable node"}, true
		}
		if grace := pod.DeletionGracePeriodSeconds; grace != nil && *grace > shortest {
			return decision{action: evict, reason: "terminating, and the kubelet does not answer"}, true
		}
	}
	return decision{action: await, reason: "terminating"}, true
}

func (o options) unmanaged(pod *corev1.Pod, _ circumstances) (decision, bool) {
	return decision{refuse, "it has no controller that would create it again (option allowUnmanaged)", "allowUnmanaged"}, !o.AllowUnmanaged && metav1.GetControllerOf(pod) == nil
}

// returned leaves a Pod that came despite the cordon and is bound to this Node by its affinity, like
// the Pods of a DaemonSet: its controller would create it here again. Pods of other controllers are
// evicted a few times, see backOff.
func returned(pod *corev1.Pod, in circumstances) (decision, bool) {
	return decision{action: leave, reason: "its affinity binds it to this node, and it tolerates the cordon"}, in.late && cordon.Stays(pod)
}

func (o options) emptyDir(pod *corev1.Pod, _ circumstances) (decision, bool) {
	for _, volume := range pod.Spec.Volumes {
		if volume.EmptyDir == nil {
			continue
		}
		if o.AllowEmptyDirData {
			return decision{action: o.removal(pod), reason: strings.TrimSuffix(emptyDirLost+"; "+o.orderReason(pod), "; ")}, true
		}
		return decision{refuse, "the data in its emptyDir volume would be lost (option allowEmptyDirData)", "allowEmptyDirData"}, true
	}
	return decision{}, false
}

const emptyDirLost = "the data in its emptyDir volume is lost"
