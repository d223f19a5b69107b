package inspect

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func TestUnprotected(t *testing.T) {
	blue := labels.SelectorFromSet(labels.Set{"pool": "blue"})
	node := func(pool string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: labels.Set{"pool": pool}}}
	}
	deleted := node("blue")
	deleted.DeletionTimestamp = &metav1.Time{}
	for name, test := range map[string]struct {
		node     *corev1.Node
		selector labels.Selector
		agent    *printer.Agent
		want     string
	}{
		"not selected":     {node("red"), blue, &printer.Agent{}, `outside the config's nodeSelector "pool=blue"`},
		"deleted":          {deleted, blue, nil, "deleted before it got the finalizer"},
		"no agent":         {node("blue"), blue, &printer.Agent{Problem: "scaled to 0 replicas"}, "no agent adds the finalizer: scaled to 0 replicas"},
		"new":              {node("blue"), blue, &printer.Agent{HasLeader: true}, ""},
		"nothing is known": {node("red"), nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Unprotected(test.node, test.selector, test.agent); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
