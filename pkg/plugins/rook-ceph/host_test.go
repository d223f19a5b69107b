package rookceph

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func nodeWith(name, hostname string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if hostname != "" {
		node.Labels = map[string]string{corev1.LabelHostname: hostname}
	}
	return node
}

func TestOSDsThatMayBelongToAnotherNode(t *testing.T) {
	for name, test := range map[string]struct {
		node, other *corev1.Node
		refused     bool
	}{
		"another hostname":              {nodeWith("a", "a.example.com"), nodeWith("b", "b.example.com"), false},
		"no label":                      {nodeWith("a", "a.example.com"), nodeWith("b", ""), false},
		"the same hostname":             {nodeWith("a", "a.example.com"), nodeWith("b", "a.example.com"), true},
		"the name of another Node":      {nodeWith("a", "a.example.com"), nodeWith("a.example.com", ""), true},
		"another Node that has renamed": {nodeWith("a", "a.example.com"), nodeWith("a.example.com", "c.example.com"), true},
		"the own name, claimed":         {nodeWith("a.example.com", ""), nodeWith("b", "a.example.com"), true},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(deployment("d", nil), test.node, test.other)
			bound, faults := Descriptor(client, clock.RealClock{}, "").Bind([]byte("{}"))
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			osds, err := bound.(*plugin).find(t.Context(), test.node)
			if !test.refused {
				if err != nil || describe(osds) != "osd.7" {
					t.Errorf("got %q, %v", describe(osds), err)
				}
				return
			}
			const claim = "both claim host a.example.com, so its OSDs may belong to either: correct the label kubernetes.io/hostname"
			if !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "nodes "+test.node.Name+" and "+test.other.Name+" "+claim) {
				t.Error(err)
			}
			effects, err := bound.(cleanup.Previewer).Preview(t.Context(), cleanup.Target{Node: test.node})
			if err != nil || len(effects) != 1 || effects[0].Blocked == nil || !strings.Contains(effects[0].Blocked.Message, claim) {
				t.Errorf("preview: %+v, %v", effects, err)
			}
		})
	}
}
