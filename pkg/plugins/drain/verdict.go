package drain

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cordon"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
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

// circumstances are what a verdict depends on beside the pod.
type circumstances struct {
	// unreachable: the kubelet does not answer, so no pod ever finishes terminating.
	unreachable bool
	now         time.Time
	// late: the pod came when the Node was cordoned already.
	late bool
}

// judge asks rules in order; the first that knows the pod decides. Kubernetes'
// own drain asks the same questions (k8s.io/kubectl/pkg/drain/filters.go).
func (o options) judge(pod *corev1.Pod, in circumstances) verdict {
	for _, rule := range []func(*corev1.Pod, circumstances) (verdict, bool){
		finished, mirror, daemon, terminating, o.unmanaged, returned, o.emptyDir,
	} {
		if verdict, decided := rule(pod, in); decided {
			return verdict
		}
	}
	return verdict{action: evict}
}

func finished(pod *corev1.Pod, _ circumstances) (verdict, bool) {
	return verdict{leave, "finished"}, pods.Finished(pod)
}

func mirror(pod *corev1.Pod, _ circumstances) (verdict, bool) {
	return verdict{leave, "static"}, pods.Mirror(pod)
}

func daemon(pod *corev1.Pod, _ circumstances) (verdict, bool) {
	return verdict{leave, "DaemonSet"}, pods.OfDaemonSet(pod)
}

func terminating(pod *corev1.Pod, in circumstances) (verdict, bool) {
	if !pods.Terminating(pod) {
		return verdict{}, false
	}
	// The timestamp has the grace period in it.
	if in.unreachable && pod.DeletionTimestamp.Time.Before(in.now) {
		return verdict{leave, "terminating on an unreachable node"}, true
	}
	return verdict{await, "terminating"}, true
}

func (o options) unmanaged(pod *corev1.Pod, _ circumstances) (verdict, bool) {
	return verdict{refuse, "no controller would make it again (option allowUnmanaged)"}, !o.AllowUnmanaged && metav1.GetControllerOf(pod) == nil
}

// returned leaves a pod that its controller or the scheduler put here in spite of
// the cordon: evicted again, it would only come back again.
func returned(pod *corev1.Pod, in circumstances) (verdict, bool) {
	return verdict{leave, "came back, it tolerates the cordon"}, in.late && cordon.Tolerated(pod)
}

func (o options) emptyDir(pod *corev1.Pod, _ circumstances) (verdict, bool) {
	for _, volume := range pod.Spec.Volumes {
		if volume.EmptyDir == nil {
			continue
		}
		if o.AllowEmptyDirData {
			return verdict{evict, emptyDirLost}, true
		}
		return verdict{refuse, "the data in its emptyDir volume would be lost (option allowEmptyDirData)"}, true
	}
	return verdict{}, false
}

const emptyDirLost = "the data in its emptyDir volume is lost"
