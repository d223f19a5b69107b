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

func TestPodsSkippedByADrainAreIgnored(t *testing.T) {
	cordoned := &corev1.Node{Spec: corev1.NodeSpec{Unschedulable: true}}
	cordoned.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &metav1.Time{Time: now}, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:unschedulable":{}}}`)}}}
	tolerates := func(toleration corev1.Toleration, after time.Duration) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now.Add(after))}, Spec: corev1.PodSpec{Tolerations: []corev1.Toleration{toleration}}}
	}
	everything := corev1.Toleration{Operator: corev1.TolerationOpExists}
	forItsNode := func(pod *corev1.Pod) *corev1.Pod {
		pod.Spec.NodeName = "worker"
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"worker"}}}}},
		}}}
		return pod
	}
	ofDaemonSet := []metav1.OwnerReference{{Kind: "DaemonSet", Controller: ptr.To(true)}}
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		node *corev1.Node
		want bool
	}{
		"ordinary":                                 {&corev1.Pod{}, cordoned, false},
		"mirror":                                   {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.MirrorPodAnnotationKey: ""}}}, cordoned, true},
		"of a DaemonSet":                           {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: ofDaemonSet}}, cordoned, true},
		"of a DaemonSet, not cordoned":             {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: ofDaemonSet}}, &corev1.Node{}, true},
		"of a DaemonSet, leaving":                  {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{}, OwnerReferences: ofDaemonSet}}, cordoned, false},
		"created after the cordon":                 {tolerates(everything, time.Second), cordoned, false},
		"created for this node":                    {forItsNode(tolerates(everything, time.Second)), cordoned, true},
		"created for this node in the same second": {forItsNode(tolerates(everything, 0)), cordoned, true},
		"created before the cordon":                {forItsNode(tolerates(everything, -time.Second)), cordoned, false},
		"not cordoned":                             {forItsNode(tolerates(everything, time.Second)), &corev1.Node{}, false},
		"unknown cordon time":                      {forItsNode(tolerates(everything, -time.Second)), &corev1.Node{Spec: corev1.NodeSpec{Unschedulable: true}}, true},
		"tolerates another value":                  {forItsNode(tolerates(corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Value: "x"}, time.Second)), cordoned, false},
		"mirror, finished": {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.MirrorPodAnnotationKey: ""}},
			Status: corev1.PodStatus{Phase: corev1.PodFailed}}, cordoned, false},
	} {
		if got := (options{}).stays(test.pod, test.node); got != test.want {
			t.Errorf("%s: stays is %v", name, got)
		}
	}
}

func TestVolumesOfSkippedPodsStay(t *testing.T) {
	bound, faults := Descriptor(nil, clocktesting.NewFakeClock(now)).Bind([]byte(`{"skipPods":[{"namespaces":["monitoring"],"selector":{"matchLabels":{"app":"agent"}}}]}`))
	if faults != nil {
		t.Fatal(faults)
	}
	for namespace, want := range map[string]bool{"monitoring": true, "shop": false} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Labels: map[string]string{"app": "agent"}}}
		if got := bound.(*plugin).stays(pod, &corev1.Node{}); got != want {
			t.Errorf("%s: stays is %v", namespace, got)
		}
	}
	_, faults = Descriptor(nil, clocktesting.NewFakeClock(now)).Bind([]byte(`{"skipPods":[{"namespaces":["monitoring"]},{}]}`))
	if want := "skipPods[1]: selects all Pods: set namespaces or a selector"; len(faults) != 1 || faults[0].Error() != want {
		t.Errorf("faults are %v, want %s", faults, want)
	}
}

func TestRemainingVolumesAreListedFaultsFirst(t *testing.T) {
	p := &plugin{clock: clocktesting.NewFakeClock(now)}
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
		if got := p.describe(left, &corev1.Node{}); got != want {
			t.Errorf("got\n  %s\nwant\n  %s", got, want)
		}
	}
}
