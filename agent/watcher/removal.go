package watcher

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// metadataOnly asks for an answer that is the metadata alone, not the whole Node.
const metadataOnly = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1," +
	"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// remove takes our finalizer off a terminating Node that nothing else holds and that
// nobody has written since it was read, so that the API server removes it. That is
// an update, and refused where anybody was faster. It costs the API server two thirds of what a
// patch does, which is merged into all that the kubelet reports; of that nothing is sent, since an
// update of a Node leaves its status as it is (nodeStrategy.PrepareForUpdate). Nor need it find out who
// manages which field of a Node that is about to be no more: one empty entry says so
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields).
// Done is false where the patch is to do it instead, and errWritten says that the Node has to be
// looked at again first: its host may have come back.
func (c *cleanup) remove(ctx context.Context) (done bool, err error) {
	if c.node.DeletionTimestamp == nil || len(c.node.Finalizers) != 1 || c.node.Finalizers[0] != api.Finalizer || !c.unchanged() {
		return false, nil
	}
	if err := c.Fence(); err != nil {
		return false, fmt.Errorf("removing finalizer: %w", err)
	}
	node := &corev1.Node{ObjectMeta: c.node.ObjectMeta, Spec: c.node.Spec}
	node.Finalizers, node.ManagedFields = nil, []metav1.ManagedFieldsEntry{{}}
	err = c.Client.CoreV1().RESTClient().Put().Resource("nodes").Name(node.Name).
		SetHeader("Accept", metadataOnly).Body(node).Do(ctx).Error()
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return true, nil
	case apierrors.IsConflict(err):
		return c.overtaken(ctx, err)
	case api.Refused(err):
		return false, nil
	}
	return false, fmt.Errorf("removing finalizer: %w", err)
}

var errWritten = errors.New("somebody has written the node when it was to be released")

// overtaken tells a Node that was written from one about which the API server, or an admission
// webhook, says "conflict" for another reason: the patch then says for which.
func (c *cleanup) overtaken(ctx context.Context, conflict error) (gone bool, err error) {
	current, err := c.Metadata.Resource(nodesResource).Get(ctx, c.node.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("removing finalizer: %w, after %v", err, conflict)
	case current.UID == c.node.UID && current.ResourceVersion == c.node.ResourceVersion:
		return false, nil
	}
	return false, errWritten
}
