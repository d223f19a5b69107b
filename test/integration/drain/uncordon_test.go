package drain_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// setUnschedulable cordons or uncordons the Node as kubectl does.
func (f *fixture) setUnschedulable(value string) {
	f.Helper()
	patch := []byte(`{"spec":{"unschedulable":` + value + `}}`)
	if _, err := f.client.CoreV1().Nodes().Patch(f.Context(), f.node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		f.Fatal(err)
	}
}

func TestVerifyFindsAnUndoneDrain(t *testing.T) {
	f := setUp(t)
	f.pod("cart", f.node)
	plugin, target := f.plugin(""), f.target()
	verify := func(want string) {
		t.Helper()
		if undone, err := plugin.(cleanup.Verifier).Verify(t.Context(), target); undone != want || err != nil {
			t.Errorf("undone is %q, %v, want %q", undone, err, want)
		}
	}
	verify("the node is not cordoned")
	if err := plugin.Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	verify("")
	f.setUnschedulable("null")
	verify("the node is not cordoned")
	f.pod("late-0", f.node)
	f.setUnschedulable("true")
	verify("pod " + f.namespace + "/late-0 is on the node")
	tolerant := func(pod *corev1.Pod) {
		pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	f.pod("late-1", f.node, tolerant) // Of a Deployment, say. A release would end it.
	verify("2 pods are on the node: " + f.namespace + "/late-0 and 1 more")
	if err := plugin.Cleanup(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	verify("")
	if left := f.pods(); len(left) != 0 {
		t.Errorf("pods left: %v", left)
	}
	f.pod("made-for-node", f.node, tolerant, func(pod *corev1.Pod) { pod.Spec.Affinity = cluster.ForNode(f.node.Name) })
	verify("")
	target.Node = target.Node.DeepCopy()
	target.Node.UID = "the-one-before"
	if _, err := plugin.(cleanup.Verifier).Verify(t.Context(), target); !cleanup.IsPermanent(err) {
		t.Errorf("error is %v", err)
	}
}

// Another controller that uncordons the Node each time must not cause evictions without end.
func TestDrainFailsAfterRepeatedUncordons(t *testing.T) {
	f := setUp(t)
	_, ended := f.blocked("")
	var err error
	for err == nil {
		f.setUnschedulable("null")
		f.eventually("the node is cordoned again, or the drain has ended", func(ctx context.Context) (bool, error) {
			select {
			case err = <-ended:
				return true, nil
			default:
			}
			node, err := f.client.CoreV1().Nodes().Get(ctx, f.node.Name, metav1.GetOptions{})
			return err == nil && node.Spec.Unschedulable, err
		})
	}
	if !strings.Contains(err.Error(), "it was uncordoned 6 times during the drain") {
		t.Errorf("error is %v", err)
	}
}
