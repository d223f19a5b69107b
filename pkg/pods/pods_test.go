package pods

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestClassification(t *testing.T) {
	controlledBy := func(kind string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Controller: ptr.To(true)}}
		}
	}
	ownedBy := func(kind string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind}} }
	}
	mirror := func(value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: value}
		}
	}
	phase := func(phase corev1.PodPhase) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Status.Phase = phase }
	}
	deleted := func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{} }

	type class struct{ finished, terminating, mirror, daemonSet, nodeBound, movable bool }
	for name, test := range map[string]struct {
		change []func(*corev1.Pod)
		want   class
	}{
		"no phase yet":                          {nil, class{movable: true}},
		"pending":                               {[]func(*corev1.Pod){phase(corev1.PodPending)}, class{movable: true}},
		"running":                               {[]func(*corev1.Pod){phase(corev1.PodRunning)}, class{movable: true}},
		"phase unknown":                         {[]func(*corev1.Pod){phase(corev1.PodUnknown)}, class{movable: true}},
		"succeeded":                             {[]func(*corev1.Pod){phase(corev1.PodSucceeded)}, class{finished: true}},
		"failed":                                {[]func(*corev1.Pod){phase(corev1.PodFailed)}, class{finished: true}},
		"terminating":                           {[]func(*corev1.Pod){deleted}, class{terminating: true, movable: true}},
		"terminating and finished":              {[]func(*corev1.Pod){deleted, phase(corev1.PodFailed)}, class{terminating: true, finished: true}},
		"mirror":                                {[]func(*corev1.Pod){mirror("hash"), controlledBy("Node")}, class{mirror: true, nodeBound: true}},
		"mirror without a hash":                 {[]func(*corev1.Pod){mirror("")}, class{mirror: true, nodeBound: true}},
		"mirror, finished":                      {[]func(*corev1.Pod){mirror("hash"), phase(corev1.PodFailed)}, class{mirror: true, nodeBound: true, finished: true}},
		"of a DaemonSet":                        {[]func(*corev1.Pod){controlledBy("DaemonSet")}, class{daemonSet: true, nodeBound: true}},
		"of a DaemonSet, terminating":           {[]func(*corev1.Pod){controlledBy("DaemonSet"), deleted}, class{daemonSet: true, nodeBound: true, terminating: true}},
		"of a DaemonSet, failed":                {[]func(*corev1.Pod){controlledBy("DaemonSet"), phase(corev1.PodFailed)}, class{daemonSet: true, nodeBound: true, finished: true}},
		"owned, not controlled, by a DaemonSet": {[]func(*corev1.Pod){ownedBy("DaemonSet")}, class{movable: true}},
		"of a ReplicaSet":                       {[]func(*corev1.Pod){controlledBy("ReplicaSet")}, class{movable: true}},
		"static, by its owner alone":            {[]func(*corev1.Pod){controlledBy("Node")}, class{movable: true}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{}
			for _, change := range test.change {
				change(pod)
			}
			got := class{Finished(pod), Terminating(pod), Mirror(pod), OfDaemonSet(pod), NodeBound(pod), Movable(pod)}
			if got != test.want {
				t.Errorf("class is %+v, want %+v", got, test.want)
			}
			// The guard has only the metadata.
			metadata := &metav1.PartialObjectMetadata{ObjectMeta: pod.ObjectMeta}
			if got := NodeBound(metadata); got != test.want.nodeBound {
				t.Errorf("by metadata alone, node bound is %t", got)
			}
		})
	}
}
