package drain

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// action is what the drain does about one pod.
type action string

const (
	// evict: the pod is evicted and waited for.
	evict action = "evict"
	// await: the pod goes already, it is waited for.
	await action = "await"
	// leave: the pod may stay.
	leave action = "leave"
	// refuse: the pod may neither stay nor be evicted; nothing is evicted then.
	refuse action = "refuse"
)

type verdict struct {
	action action
	// reason in a few words, empty for an ordinary pod.
	reason string
}

// node is what of the Node's state a verdict depends on.
type nodeState struct {
	// unreachable: the kubelet does not answer, so no pod ever finishes terminating.
	unreachable bool
	now         time.Time
}

// judge asks rules in order; the first that knows the pod decides. Kubernetes'
// own drain asks the same questions (k8s.io/kubectl/pkg/drain/filters.go).
func (o options) judge(pod *corev1.Pod, node nodeState) verdict {
	for _, rule := range []func(*corev1.Pod, nodeState) (verdict, bool){finished, mirror, daemon, o.terminating, o.unmanaged, o.emptyDir} {
		if verdict, decided := rule(pod, node); decided {
			return verdict
		}
	}
	return verdict{action: evict}
}

func finished(pod *corev1.Pod, _ nodeState) (verdict, bool) {
	done := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	return verdict{leave, "finished"}, done
}

func mirror(pod *corev1.Pod, _ nodeState) (verdict, bool) {
	_, is := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return verdict{leave, "static"}, is
}

func daemon(pod *corev1.Pod, _ nodeState) (verdict, bool) {
	owner := metav1.GetControllerOf(pod)
	return verdict{leave, "DaemonSet"}, owner != nil && owner.Kind == "DaemonSet"
}

func (options) terminating(pod *corev1.Pod, node nodeState) (verdict, bool) {
	if pod.DeletionTimestamp == nil {
		return verdict{}, false
	}
	// The timestamp has the grace period in it.
	if node.unreachable && pod.DeletionTimestamp.Time.Before(node.now) {
		return verdict{leave, "terminating on an unreachable node"}, true
	}
	return verdict{await, "terminating"}, true
}

func (o options) unmanaged(pod *corev1.Pod, _ nodeState) (verdict, bool) {
	return verdict{refuse, "no controller would make it again (option allowUnmanaged)"}, !o.AllowUnmanaged && metav1.GetControllerOf(pod) == nil
}

func (o options) emptyDir(pod *corev1.Pod, _ nodeState) (verdict, bool) {
	for _, volume := range pod.Spec.Volumes {
		if volume.EmptyDir != nil && !o.AllowEmptyDirData {
			return verdict{refuse, "the data in its emptyDir volume would be lost (option allowEmptyDirData)"}, true
		}
	}
	return verdict{}, false
}

// tier orders pods: those of a lower tier are gone before the next are evicted.
type tier int

const (
	ordinary tier = iota
	// critical pods serve the others: DNS, networking, metrics.
	critical
	// own is the agent itself: with its pod the drain moves to another agent.
	own
)

// systemCritical is the lowest priority of the classes that Kubernetes keeps for
// itself (HighestUserDefinablePriority is one billion).
const systemCritical = 2_000_000_000

func tierOf(pod *corev1.Pod) tier {
	switch {
	case pod.Labels[api.LabelName] == api.LabelNameValue:
		return own
	case pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCritical:
		return critical
	}
	return ordinary
}
