package agent_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// pod creates a Pod on a Node that a controller would recreate elsewhere. It is not in the agent's
// namespace, which admits only restricted Pods.
func (f *fixture) pod(name string, node *corev1.Node) *corev1.Pod {
	f.Helper()
	pod := cluster.MakePod(metav1.NamespaceDefault, name, node.Name)
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name, UID: "owner", Controller: ptr.To(true)}}
	pod, err := f.client.CoreV1().Pods(metav1.NamespaceDefault).Create(f.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { f.kill(pod) })
	return pod
}

// kill removes a Pod as the kubelet does once the Pod has stopped.
func (f *fixture) kill(pod *corev1.Pod) {
	f.Helper()
	err := f.client.CoreV1().Pods(pod.Namespace).Delete(context.WithoutCancel(f.Context()), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	if err != nil && !apierrors.IsNotFound(err) {
		f.Error(err)
	}
}

// onlyPodsOf checks that, since a mark, the agent has listed only Pods of one Node.
func (f *fixture) onlyPodsOf(node *corev1.Node, mark cluster.AuditMark) {
	f.Helper()
	asked := 0
	for _, request := range f.audited(mark) {
		if request.Resource != "pods" || request.Verb != "list" && request.Verb != "watch" {
			continue
		}
		asked++
		uri, err := url.Parse(request.URI)
		if err != nil {
			f.Fatal(err)
		}
		if fields := uri.Query().Get("fieldSelector"); !strings.Contains(fields, "spec.nodeName="+node.Name) {
			f.Errorf("the agent sent %s %s", request.Verb, request.URI)
		}
	}
	if asked == 0 {
		f.Error("the agent asked for no pods at all, this proves nothing")
	}
}

func TestDryRunOfADrainReportsItsEffectsAndEvictsNothing(t *testing.T) {
	f := setUp(t, "dryRun: true\nsteps:\n- {name: drain, plugin: drain}\n- {name: breaks, plugin: breaks, dependsOn: [drain]}\n")
	f.start(f.with("breaks", breaks{probe{f, ""}}))
	// Another finalizer keeps the Node for the checks.
	node := f.protected("worker", "example.com/other")
	pod := f.pod("cart", node)
	mark := f.mark()
	f.delete(node)
	f.eventually("our finalizer is removed", func(context.Context) (bool, error) { return !api.HasFinalizer(f.read(node)), nil })
	would := []string{"cordon", "evict default/cart (blocked: controller ReplicaSet default/cart puts its Pods back on this node: its Pod template sets spec.nodeName)"}
	run := f.record(node)
	if said := run.Step("drain").Would(); !run.DryRun || run.State != api.Succeeded || !slices.Equal(said, would) {
		t.Errorf("the record says %+v", run)
	}
	if said := run.Step("breaks").Would(); len(said) != 1 || !strings.Contains(said[0], "preview failed: plugin breaks panicked: nil map") {
		t.Errorf("the step whose preview panics says %q", said)
	}
	f.awaitEvent(node, "CleanupCompleted", "Dry run done, nothing was cleaned up, the node is released")
	f.awaitEvent(node, "CleanupCompleted", "drain would "+strings.Join(would, ", "))
	if current := f.read(node); current.Spec.Unschedulable || current.Annotations[api.AnnotationCordonedBy] != "" {
		t.Errorf("the node is cordoned: %+v", current)
	}
	if current, err := f.client.CoreV1().Pods(metav1.NamespaceDefault).Get(t.Context(), pod.Name, metav1.GetOptions{}); err != nil || current.ResourceVersion != pod.ResourceVersion {
		t.Errorf("the pod was touched: %+v, %v", current, err)
	}
	nodes := 0
	for _, request := range f.audited(mark) {
		switch {
		case request.Verb == "get" || request.Verb == "list" || request.Verb == "watch":
		case request.Resource == "pods" && !strings.Contains(request.URI, "dryRun=All"):
			t.Errorf("the agent sent %s %s", request.Verb, request.URI)
		case request.Resource == "nodes" && request.Subresource == "":
			nodes++
		}
	}
	f.onlyPodsOf(node, mark)
	if nodes != 1 {
		t.Errorf("the agent wrote the node %d times, want once: its finalizer", nodes)
	}
}

// A cluster can have more Pods than fit into the agent's memory: the agent lists only the Pods of
// one node.
func TestPodsAreListedByNode(t *testing.T) {
	f := setUp(t, "steps:\n- {name: drain, plugin: drain}\n- {name: volumes, plugin: volumes, dependsOn: [drain]}\n")
	mark := f.mark()
	f.startWithWebhook()
	node, other := f.create("worker"), f.create("other")
	moves, stays := f.pod("moves", node), f.pod("stays", other)
	f.delete(node)
	pods := f.client.CoreV1().Pods(metav1.NamespaceDefault)
	f.eventually("the pod is evicted", func(ctx context.Context) (bool, error) {
		current, err := pods.Get(ctx, moves.Name, metav1.GetOptions{})
		return err == nil && current.DeletionTimestamp != nil, err
	})
	f.kill(moves)
	f.awaitDeleted(node)
	if current, err := pods.Get(t.Context(), stays.Name, metav1.GetOptions{}); err != nil || current.DeletionTimestamp != nil {
		t.Errorf("the other node's pod is %+v, %v", current, err)
	}
	f.onlyPodsOf(node, mark)
}
