package pods

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestControllerOfAPod(t *testing.T) {
	hash := map[string]string{"pod-template-hash": "7c5d"}
	owner := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, Controller: ptr.To(true)}}
	}
	for name, test := range map[string]struct {
		labels map[string]string
		owners []metav1.OwnerReference
		want   api.Object
	}{
		"none":                        {nil, nil, api.Object{}},
		"an owner, no controller":     {nil, []metav1.OwnerReference{{Kind: "Job", Name: "x"}}, api.Object{}},
		"Deployment":                  {hash, owner("ReplicaSet", "cart-7c5d"), api.Object{Kind: "Deployment", Namespace: "shop", Name: "cart"}},
		"ReplicaSet alone":            {nil, owner("ReplicaSet", "cart-7c5d"), api.Object{Kind: "ReplicaSet", Namespace: "shop", Name: "cart-7c5d"}},
		"ReplicaSet, label of others": {hash, owner("ReplicaSet", "cart"), api.Object{Kind: "ReplicaSet", Namespace: "shop", Name: "cart"}},
		"StatefulSet":                 {hash, owner("StatefulSet", "db"), api.Object{Kind: "StatefulSet", Namespace: "shop", Name: "db"}},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Labels: test.labels, OwnerReferences: test.owners}}
		if got, found := Controller(pod); got != test.want || found != (test.want.Kind != "") {
			t.Errorf("%s: %+v, %v", name, got, found)
		}
	}
}

func TestPodsCreatedForTheirNode(t *testing.T) {
	in := func(values ...string) []corev1.NodeSelectorRequirement {
		return []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: values}}
	}
	for name, test := range map[string]struct {
		kind  string
		terms []corev1.NodeSelectorTerm
		want  bool
	}{
		"like a DaemonSet":   {"StorageCluster", []corev1.NodeSelectorTerm{{MatchFields: in("worker")}}, true},
		"two nodes":          {"StorageCluster", []corev1.NodeSelectorTerm{{MatchFields: in("worker", "other")}}, false},
		"another term":       {"StorageCluster", []corev1.NodeSelectorTerm{{MatchFields: in("worker")}, {}}, false},
		"a label":            {"StorageCluster", []corev1.NodeSelectorTerm{{MatchExpressions: in("worker")}}, false},
		"no terms":           {"StorageCluster", nil, false},
		"of a Deployment":    {"ReplicaSet", []corev1.NodeSelectorTerm{{MatchFields: in("worker")}}, false},
		"without controller": {"", []corev1.NodeSelectorTerm{{MatchFields: in("worker")}}, true},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "worker", Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: test.terms}}}}}
		if test.kind != "" {
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: test.kind, Controller: ptr.To(true)}}
		}
		if got := PinnedByAffinity(pod); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if PinnedByAffinity(&corev1.Pod{}) {
		t.Error("a Pod without affinity is made for its node")
	}
}
