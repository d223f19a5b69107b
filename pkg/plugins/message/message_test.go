package message

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExpand(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u", Labels: map[string]string{"topology.kubernetes.io/zone": "a"}},
		Spec:       corev1.NodeSpec{ProviderID: "p"},
	}
	for text, want := range map[string]string{
		"plain": "plain",
		"${node.name} ${node.uid} ${node.providerID}":   "n u p",
		"in ${node.labels.topology.kubernetes.io/zone}": "in a",
		"in ${node.labels.none}":                        "in ",
		"$node.name $${node.name}":                      "$node.name $n",
	} {
		if problem := Check(text); problem != "" {
			t.Errorf("%q: %s", text, problem)
		}
		if got := Expand(text, node); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestCheckNamesTheUnknownField(t *testing.T) {
	for _, text := range []string{"${node.nam}", "${}", "${node.labels.}"} {
		if problem := Check(text); !strings.Contains(problem, "unknown field "+text) || !strings.Contains(problem, "${node.name}") {
			t.Errorf("%q: %q", text, problem)
		}
	}
}
