package rookceph_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// node creates a Node with that hostname.
func (f *fixture) node(ctx context.Context, name, hostname string) *corev1.Node {
	f.Helper()
	node, err := f.client.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: hostname}},
	}, metav1.CreateOptions{})
	if err != nil {
		f.Error(err)
	}
	f.Cleanup(func() {
		if err := f.client.CoreV1().Nodes().Delete(context.WithoutCancel(ctx), name, metav1.DeleteOptions{}); err != nil {
			f.Error(err)
		}
	})
	return node
}

// TestOSDsThatAnotherNodeClaimsAreNotRemoved changes the label of a Node to the hostname of another one, as the kubelet
// of the Node can.
func TestOSDsThatAnotherNodeClaimsAreNotRemoved(t *testing.T) {
	f := newFixture(t, &ceph{T: t})
	f.deploymentOn("victim", 1, string(uuid.NewUUID()))
	f.outcome = func(ctx context.Context, _ *corev1.Pod) (int32, string) {
		f.node(context.WithoutCancel(ctx), "late", "victim")
		return 0, ""
	}
	f.play(f.runPods)
	step := f.step(f.options())
	refused := func(node *corev1.Node, other string, phases ...string) {
		t.Helper()
		target := f.target(1)
		target.Node, target.IdempotencyKey = node, string(node.UID)+"/ceph"
		err := step.Cleanup(t.Context(), target)
		if !cleanup.IsPermanent(err) || !strings.Contains(err.Error(), "nodes "+node.Name+" and "+other+" both claim host victim") {
			t.Error(err)
		}
		if !slices.Equal(f.phases(), phases) {
			t.Errorf("the phases: %v", f.phases())
		}
		deployments, err := f.osdDeployments(t.Context())
		if deployment, exists := deployments[1]; err != nil || !exists || *deployment.Spec.Replicas != 1 {
			t.Errorf("after: %+v, %v", deployment, err)
		}
	}
	victim := f.node(t.Context(), "victim", "victim")
	thief := f.node(t.Context(), "thief", "thief")
	thief, err := f.client.CoreV1().Nodes().Patch(t.Context(), thief.Name, types.MergePatchType, []byte(`{"metadata":{"labels":{"kubernetes.io/hostname":"victim"}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	refused(thief, "victim")
	refused(victim, "thief")

	// Another Node claims the host while the data is moved.
	if _, err := f.client.CoreV1().Nodes().Patch(t.Context(), thief.Name, types.MergePatchType, []byte(`{"metadata":{"labels":{"kubernetes.io/hostname":"thief"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(victim, "late", "evacuate")
}
