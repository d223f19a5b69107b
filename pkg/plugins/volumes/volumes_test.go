package volumes

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
)

var now = time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)

func TestPodsThatADrainLeavesStay(t *testing.T) {
	tolerates := func(toleration corev1.Toleration) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Tolerations: []corev1.Toleration{toleration}}}
	}
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"ordinary": {&corev1.Pod{}, false},
		"mirror":   {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.MirrorPodAnnotationKey: ""}}}, true},
		"of a DaemonSet": {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{
			{Kind: "DaemonSet", Controller: ptr.To(true)}}}}, true},
		"of a DaemonSet, leaving": {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{}, OwnerReferences: []metav1.OwnerReference{
			{Kind: "DaemonSet", Controller: ptr.To(true)}}}}, false},
		"mirror, finished": {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.MirrorPodAnnotationKey: ""}},
			Status: corev1.PodStatus{Phase: corev1.PodFailed}}, false},
		"tolerates everything":   {tolerates(corev1.Toleration{Operator: corev1.TolerationOpExists}), true},
		"tolerates a cordon":     {tolerates(corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}), true},
		"tolerates NoExecute":    {tolerates(corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}), false},
		"tolerates another key":  {tolerates(corev1.Toleration{Key: "dedicated", Operator: corev1.TolerationOpExists}), false},
		"tolerates an empty key": {tolerates(corev1.Toleration{Operator: corev1.TolerationOpEqual}), false},
	} {
		if got := stays(test.pod); got != test.want {
			t.Errorf("%s: stays is %v", name, got)
		}
	}
}

func TestWhatIsWaitedForIsNamedWithTheFaultsFirst(t *testing.T) {
	p := &plugin{clock: clocktesting.NewFakePassiveClock(now)}
	volume := func(name string, change func(*attached)) attached {
		one := attached{VolumeAttachment: &storagev1.VolumeAttachment{Spec: storagev1.VolumeAttachmentSpec{Attacher: "csi.example.com"}}}
		one.Spec.Source.PersistentVolumeName = &name
		change(&one)
		return one
	}
	plain := volume("pv-1", func(*attached) {})
	leaving := volume("pv-2", func(a *attached) { a.DeletionTimestamp = &metav1.Time{Time: now.Add(-90 * time.Second)} })
	used := volume("pv-3", func(a *attached) { a.pods = []string{"shop/cart-0"} })
	failed := volume("pv-4", func(a *attached) { a.Status.DetachError = &storagev1.VolumeError{Message: "volume is busy"} })
	inline := volume("", func(a *attached) { a.Spec.Source.PersistentVolumeName = nil })
	for want, left := range map[string][]attached{
		"1 volume is still attached: volume pv-1 (csi.example.com), not being detached yet":      {plain},
		"1 volume is still attached: an inline volume (csi.example.com), not being detached yet": {inline},
		"4 volumes are still attached: volume pv-4 (csi.example.com), detaching failed: volume is busy; " +
			"volume pv-3 (csi.example.com), used by pod shop/cart-0; volume pv-1 (csi.example.com), not being detached yet; …": {plain, leaving, used, failed},
		"1 volume is still attached: volume pv-2 (csi.example.com), being detached for 1m30s": {leaving},
	} {
		if got := p.describe(left, false); got != want {
			t.Errorf("got\n  %s\nwant\n  %s", got, want)
		}
	}
}
