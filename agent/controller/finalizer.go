package controller

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// ensureFinalizer adds our finalizer to a Node that was created without it.
func (r *reconciler) ensureFinalizer(ctx context.Context, c *cleanup) result {
	if !api.NeedsFinalizer(c.cached) || !r.selected(c.cached) {
		return next
	}
	added, err := r.patchFinalizer(ctx, c.cached, "adding", "finalizers")
	if err != nil || !added {
		return failed(err)
	}
	r.Metrics.FinalizerAdded()
	c.log.Info("finalizer added to a node that lacked it")
	return next
}

// patchFinalizer adds our finalizer to a Node or removes it, and touches no other
// finalizer: the API server merges the list. The patch carries the UID, so a Node that was
// created again under the same name rejects it. It may be repeated. Patched is false if
// there is nothing to patch any more.
func (r *reconciler) patchFinalizer(ctx context.Context, node metav1.Object, doing, key string) (patched bool, err error) {
	if err := r.Fence(); err != nil {
		return false, fmt.Errorf("%s finalizer: %w", doing, err)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": node.GetUID(),
		key:   []string{api.Finalizer},
	}})
	if err != nil {
		return false, fmt.Errorf("%s finalizer: encoding the patch: %w", doing, err)
	}
	// The metadata client returns the metadata alone, not the whole Node.
	_, err = r.Metadata.Resource(nodesResource).Patch(ctx, node.GetName(), types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsInvalid(err):
		return false, r.explainInvalid(ctx, node, fmt.Errorf("%s finalizer: %w", doing, err))
	}
	return false, fmt.Errorf("%s finalizer: %w", doing, err)
}

// invalidError reports that the API server rejects every update of the Node.
type invalidError struct{ error }

func (e invalidError) Unwrap() error { return e.error }

// explainInvalid distinguishes the reasons for a 422: the name belongs to another Node,
// the Node terminates (and accepts no new finalizer), or the Node holds a value that
// fails validation. Only the last one is an error.
func (r *reconciler) explainInvalid(ctx context.Context, node metav1.Object, cause error) error {
	current, err := r.Client.CoreV1().Nodes().Get(ctx, node.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("%w; reading the node to find out why: %w", cause, err)
	case current.UID != node.GetUID():
		return nil
	case current.DeletionTimestamp != nil && node.GetDeletionTimestamp() == nil:
		return nil // The informer is about to deliver this.
	}
	return invalidError{cause}
}
