package operate_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// docs/troubleshooting.md describes this: with --cascade=foreground, CSINode and Lease are deleted
// while the Node is held, and the cleanup runs as usual.
func TestForegroundDeletionIsCleanedUp(t *testing.T) {
	f := setUp(t, "steps: [{name: drain, plugin: drain}, {name: volumes, plugin: volumes, dependsOn: [drain]}]\n")
	f.start()
	node := f.node("worker", nil)
	f.registered(node)
	f.pod("cart-0", "worker", app("cart"))
	f.budget("cart", 1)
	attachments := f.client.StorageV1().VolumeAttachments()
	if _, err := attachments.Create(t.Context(), &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "csi-foreground"},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: "csi.example.com", NodeName: "worker", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To("pv-foreground")}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.client.CoreV1().Nodes().Delete(t.Context(), "worker", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
		t.Fatal(err)
	}
	f.awaitState("worker", api.Running)
	f.eventually("CSINode and Lease are deleted", func(ctx context.Context) (bool, error) { return f.noneOwned(ctx, "worker") })
	if node := f.read("worker"); node == nil || !api.HasFinalizer(node) {
		t.Fatalf("the node is not held: %+v", node)
	}
	f.dropBudget("cart")
	f.eventually("the volumes are waited for", func(context.Context) (bool, error) {
		node := f.read("worker")
		if node == nil {
			return false, errors.New("the node is deleted")
		}
		condition := api.CleanupConditionOf(node)
		return condition != nil && strings.Contains(condition.Message, "pv-foreground"), nil
	})
	if err := attachments.Delete(t.Context(), "csi-foreground", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the node is deleted", func(context.Context) (bool, error) { return f.read("worker") == nil, nil })
	f.run("history", "worker").exits(exit.OK).says("Succeeded", "2/2")
}

// registered creates the objects that the kubelet creates for its Node, with the kubelet's owner
// reference. It returns when the garbage collector has observed both.
func (f *fixture) registered(node *corev1.Node) {
	f.Helper()
	f.owned(node.Name, node.UID)
	// These have no owner that exists, so the garbage collector deletes them. It saw the others before.
	f.owned("nobody", "no-such-uid")
	f.eventually("the garbage collector has seen CSINode and Lease", func(ctx context.Context) (bool, error) { return f.noneOwned(ctx, "nobody") })
}

// owned creates a CSINode and a Lease of a Node.
func (f *fixture) owned(node string, uid types.UID) {
	f.Helper()
	meta := metav1.ObjectMeta{Name: node, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node, UID: uid}}}
	if _, err := f.client.StorageV1().CSINodes().Create(f.Context(), &storagev1.CSINode{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	if _, err := f.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Create(f.Context(), &coordinationv1.Lease{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

// noneOwned reports whether the Node has neither a CSINode nor a Lease.
func (f *fixture) noneOwned(ctx context.Context, node string) (bool, error) {
	_, noCSINode := f.client.StorageV1().CSINodes().Get(ctx, node, metav1.GetOptions{})
	_, noLease := f.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, node, metav1.GetOptions{})
	return apierrors.IsNotFound(noCSINode) && apierrors.IsNotFound(noLease), errors.Join(ignoreNotFound(noCSINode), ignoreNotFound(noLease))
}
