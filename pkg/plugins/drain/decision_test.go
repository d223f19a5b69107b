package drain

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// makePod returns an ordinary Pod of a ReplicaSet with the given changes.
func makePod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID("uid-of-" + name),
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Controller: ptr.To(true)}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, c := range change {
		c(pod)
	}
	return pod
}

func ownedBy(kind string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.OwnerReferences[0].Kind = kind }
}

func unmanaged(pod *corev1.Pod) { pod.OwnerReferences = nil }

func phase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Status.Phase = phase }
}

// deleted: the pod's grace period ends that long after noon.
func deleted(after time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.DeletionTimestamp = ptr.To(metav1.NewTime(noon.Add(after))) }
}

func grace(seconds int64) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.DeletionGracePeriodSeconds = &seconds }
}

func volume(source corev1.VolumeSource) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: source})
	}
}

func withEmptyDir(pod *corev1.Pod) {
	volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})(pod)
}

func hostPath(path string) func(*corev1.Pod) {
	return volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}})
}

func tolerates(toleration corev1.Toleration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.Tolerations = []corev1.Toleration{toleration} }
}

func forItsNode(pod *corev1.Pod) {
	pod.Spec.NodeName = "worker"
	pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"worker"}}}}},
	}}}
}

func mirrored(pod *corev1.Pod) {
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "Node", Controller: ptr.To(true)}}
	pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
}

func TestDecisions(t *testing.T) {
	everything := corev1.Toleration{Operator: corev1.TolerationOpExists}
	for name, test := range map[string]struct {
		options options
		pod     *corev1.Pod
		in      circumstances
		want    decision
	}{
		"ordinary":              {pod: makePod("a"), want: decision{action: evict}},
		"pending":               {pod: makePod("a", phase(corev1.PodPending)), want: decision{action: evict}},
		"succeeded":             {pod: makePod("a", unmanaged, phase(corev1.PodSucceeded)), want: decision{action: leave, reason: "finished"}},
		"failed":                {pod: makePod("a", phase(corev1.PodFailed), withEmptyDir), want: decision{action: leave, reason: "finished"}},
		"mirror":                {pod: makePod("a", mirrored), want: decision{action: leave, reason: "static"}},
		"daemon":                {pod: makePod("a", ownedBy("DaemonSet"), withEmptyDir), want: decision{action: leave, reason: "DaemonSet"}},
		"stateful":              {pod: makePod("a", ownedBy("StatefulSet")), want: decision{action: evict}},
		"own resource":          {pod: makePod("a", ownedBy("StorageCluster")), want: decision{action: evict}},
		"owned, not controlled": {pod: makePod("a", func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }), want: decision{refuse, "it has no controller that would create it again (option allowUnmanaged)", "allowUnmanaged"}},
		"unmanaged":             {pod: makePod("a", unmanaged), want: decision{refuse, "it has no controller that would create it again (option allowUnmanaged)", "allowUnmanaged"}},
		"unmanaged may":         {options: options{AllowUnmanaged: true}, pod: makePod("a", unmanaged), want: decision{action: evict}},
		"emptyDir":              {pod: makePod("a", withEmptyDir), want: decision{refuse, "the data in its emptyDir volume would be lost (option allowEmptyDirData)", "allowEmptyDirData"}},
		"emptyDir may":          {options: options{AllowEmptyDirData: true}, pod: makePod("a", withEmptyDir), want: decision{action: evict, reason: emptyDirLost}},
		"other volume":          {pod: makePod("a", hostPath("/data")), want: decision{action: evict}},
		"terminating":           {pod: makePod("a", unmanaged, deleted(-time.Hour)), want: decision{action: await, reason: "terminating"}},
		"terminating within its grace on an unreachable node": {
			pod: makePod("a", deleted(time.Second)), in: circumstances{unreachable: true}, want: decision{action: await, reason: "terminating"}},
		"terminating past its grace on an unreachable node": {
			pod: makePod("a", deleted(-time.Second)), in: circumstances{unreachable: true}, want: decision{action: leave, reason: "terminating on an unreachable node"}},
		"terminating with a long grace period on an unreachable node": {
			pod: makePod("a", deleted(time.Hour), grace(7200)), in: circumstances{unreachable: true}, want: decision{action: evict, reason: "terminating, and the kubelet does not answer"}},
		"terminating with a long grace period": {pod: makePod("a", deleted(time.Hour), grace(7200)), want: decision{action: await, reason: "terminating"}},
		"terminating with the shortest grace period on an unreachable node": {
			pod: makePod("a", deleted(time.Second), grace(1)), in: circumstances{unreachable: true}, want: decision{action: await, reason: "terminating"}},
		"terminating past its long grace period on an unreachable node": {
			pod: makePod("a", deleted(-time.Second), grace(7200)), in: circumstances{unreachable: true}, want: decision{action: leave, reason: "terminating on an unreachable node"}},
		"tolerant":          {pod: makePod("a", tolerates(everything)), want: decision{action: evict}},
		"late":              {pod: makePod("a"), in: circumstances{late: true}, want: decision{action: evict}},
		"late and tolerant": {pod: makePod("a", tolerates(everything)), in: circumstances{late: true}, want: decision{action: evict}},
		"late, tolerant and made for this node": {
			pod: makePod("a", ownedBy("StorageCluster"), forItsNode, tolerates(everything)), in: circumstances{late: true}, want: decision{action: leave, reason: "its affinity binds it to this node, and it tolerates the cordon"}},
		"late and made for this node":     {pod: makePod("a", ownedBy("StorageCluster"), forItsNode), in: circumstances{late: true}, want: decision{action: evict}},
		"tolerant and made for this node": {pod: makePod("a", ownedBy("StorageCluster"), forItsNode, tolerates(everything)), want: decision{action: evict}},
		"late, tolerant and unmanaged": {
			pod: makePod("a", unmanaged, forItsNode, tolerates(everything)), in: circumstances{late: true}, want: decision{refuse, "it has no controller that would create it again (option allowUnmanaged)", "allowUnmanaged"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.in.now = noon
			if got := test.options.decide(test.pod, test.in); got != test.want {
				t.Errorf("decision is %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestTiers(t *testing.T) {
	priority := func(value int32) func(*corev1.Pod) { return func(pod *corev1.Pod) { pod.Spec.Priority = &value } }
	runs := func(words ...string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Args: words})
		}
	}
	labelled := func(pod *corev1.Pod) { pod.Labels = map[string]string{api.LabelName: api.LabelNameValue} }
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want tier
	}{
		"none":                  {makePod("a"), ordinary},
		"high":                  {makePod("a", priority(1_000_000_000)), ordinary},
		"cluster critical":      {makePod("a", priority(2_000_000_000)), critical},
		"node critical":         {makePod("a", priority(2_000_001_000)), critical},
		"node plugin":           {makePod("a", hostPath("/var/lib/kubelet/plugins/csi.example.com")), storage},
		"registrar":             {makePod("a", hostPath("/var/lib/k0s/kubelet/plugins_registry/")), storage},
		"device plugin":         {makePod("a", hostPath("/var/lib/kubelet/device-plugins")), ordinary},
		"reads all pods' files": {makePod("a", hostPath("/var/lib/kubelet/pods")), ordinary},
		"controller":            {makePod("a", runs("serve"), runs("--v=2", "--csi-address=/csi/csi.sock"), priority(2_000_000_000)), storage},
		"mentions CSI":          {makePod("a", runs("csi-address")), ordinary},
		"ours":                  {makePod("a", labelled, priority(2_000_000_000), hostPath("/var/lib/kubelet/plugins")), own},
	} {
		if got := tierOf(test.pod); got != test.want {
			t.Errorf("%s: tier %d, want %d", name, got, test.want)
		}
	}
}
