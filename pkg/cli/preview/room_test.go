package preview

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func TestPlanWarnsAboutTheLastSchedulableNode(t *testing.T) {
	node := func(name string, spec corev1.NodeSpec) runtime.Object {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	}
	worker, cordoned := node("worker", corev1.NodeSpec{}), node("cordoned", corev1.NodeSpec{Unschedulable: true})
	control := node("control", corev1.NodeSpec{Taints: []corev1.Taint{{Key: "c", Effect: corev1.TaintEffectNoSchedule}}})
	preferred := node("preferred", corev1.NodeSpec{Taints: []corev1.Taint{{Key: "c", Effect: corev1.TaintEffectPreferNoSchedule}}})
	for name, test := range map[string]struct {
		nodes  []runtime.Object
		action cleanup.Action
		want   bool
	}{
		"the last":        {[]runtime.Object{worker, cordoned, control}, cleanup.Evict, true},
		"another":         {[]runtime.Object{worker, preferred}, cleanup.Evict, false},
		"nothing evicted": {[]runtime.Object{worker}, cleanup.Skip, false},
	} {
		t.Run(name, func(t *testing.T) {
			view := printer.NewPlan("worker")
			view.Steps = []printer.PlanStep{{Name: "drain", Effects: []cleanup.Effect{{Action: test.action}}}}
			if err := (&Previewer{client: fake.NewClientset(test.nodes...)}).room(t.Context(), view); err != nil {
				t.Fatal(err)
			}
			if got := slices.Contains(view.Notes, noRoom); got != test.want {
				t.Errorf("the notes are %q", view.Notes)
			}
		})
	}
}
