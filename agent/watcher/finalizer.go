package watcher

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// addFinalizer puts our finalizer on a Node that is not terminating. It leaves
// every other finalizer alone, also those that others write meanwhile: the
// strategic merge of a list of primitive values is done by the API server. Added is
// false where that Node is gone, or terminates.
func (t *term) addFinalizer(ctx context.Context, node metav1.Object) (added bool, err error) {
	return t.patchFinalizer(ctx, node, "adding", "finalizers")
}

// removeFinalizer takes our finalizer off a Node, and no other.
func (t *term) removeFinalizer(ctx context.Context, node metav1.Object) error {
	_, err := t.patchFinalizer(ctx, node, "removing", "$deleteFromPrimitiveList/finalizers")
	return err
}

// patchFinalizer carries the UID, so that a Node which was created again under
// the same name refuses the patch. It may be repeated. Patched is false where there
// was nothing to patch any more.
func (t *term) patchFinalizer(ctx context.Context, node metav1.Object, doing, key string) (patched bool, err error) {
	if err := t.Fence(); err != nil {
		return false, fmt.Errorf("%s finalizer: %w", doing, err)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": node.GetUID(),
		key:   []string{api.Finalizer},
	}})
	if err != nil {
		return false, fmt.Errorf("%s finalizer: encoding the patch: %w", doing, err)
	}
	// The answer is the metadata alone, not the whole Node.
	_, err = t.Metadata.Resource(nodesResource).Patch(ctx, node.GetName(), types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsInvalid(err):
		return false, t.explainInvalid(ctx, node, fmt.Errorf("%s finalizer: %w", doing, err))
	}
	return false, fmt.Errorf("%s finalizer: %w", doing, err)
}

// invalidError: the API server refuses every update of the Node.
type invalidError struct{ error }

func (e invalidError) Unwrap() error { return e.error }

// explainInvalid tells the cases in which the API server answers 422 apart: the
// name belongs to another Node now, the Node began to terminate (and takes no
// new finalizer), or the Node holds a value that fails validation, and then it
// stays until somebody mends it.
func (t *term) explainInvalid(ctx context.Context, node metav1.Object, cause error) error {
	current, err := t.Client.CoreV1().Nodes().Get(ctx, node.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("%w; asking why: %w", cause, err)
	case current.UID != node.GetUID():
		return nil
	case current.DeletionTimestamp != nil && node.GetDeletionTimestamp() == nil:
		return nil // The informer is about to say so, and that is reconciled then.
	}
	return invalidError{cause}
}
