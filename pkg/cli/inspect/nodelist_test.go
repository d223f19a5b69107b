package inspect

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestNodeListExplainsAnUnprotectedNode(t *testing.T) {
	now := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	node := func(name string, change func(*corev1.Node)) *corev1.Node {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
		change(node)
		return node
	}
	deleted := func(node *corev1.Node) {
		node.DeletionTimestamp, node.Finalizers = &metav1.Time{Time: now}, []string{"example.com/theirs"}
	}
	nodes := []*corev1.Node{
		node("deleted", deleted),
		node("protected", func(node *corev1.Node) { node.Finalizers = []string{api.Finalizer} }),
		node("released", func(node *corev1.Node) {
			deleted(node)
			node.Status.Conditions = []corev1.NodeCondition{api.CleanupCondition(api.Succeeded, "done", metav1.Time{Time: now})}
		}),
		node("released-by-the-cli", deleted),
		node("red", func(node *corev1.Node) { node.Labels = labels.Set{"pool": "red"} }),
	}
	leaving := &Snapshot{Selector: labels.SelectorFromSet(labels.Set{"pool": "blue"}), Runs: map[types.UID]*api.Run{"released-by-the-cli": {State: api.Bypassed}}}
	list := NodeList(nodes, leaving, nil, Absence{}, now)
	for name, want := range map[string]string{
		"deleted": `outside the config's nodeSelector "pool=blue"`, "red": `outside the config's nodeSelector "pool=blue"`,
		"protected": "", "released": "", "released-by-the-cli": "",
	} {
		for _, row := range list.Nodes {
			if row.Name == name && row.Unprotected != want {
				t.Errorf("%s: %q, want %q", name, row.Unprotected, want)
			}
		}
	}
}
