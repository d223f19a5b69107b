// Package nodepatch patches Nodes. Each patch carries the UID, so a Node that was created again
// under the same name rejects it.
package nodepatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Client patches Nodes. A patch may be repeated.
type Client struct {
	// The metadata client returns only the metadata, not the whole Node.
	nodes metadata.ResourceInterface
}

// New returns a Client.
func New(client metadata.Interface) Client {
	return Client{client.Resource(corev1.SchemeGroupVersion.WithResource("nodes"))}
}

// AddFinalizer adds our finalizer to a Node and touches no other one: the API server merges the
// list. Added is false if the Node is deleted, or terminates: then it accepts no finalizer.
func (c Client) AddFinalizer(ctx context.Context, node metav1.Object) (added bool, err error) {
	added, err = c.patch(ctx, node, map[string]any{"metadata": map[string]any{"finalizers": []string{api.Finalizer}}})
	var invalid InvalidError
	if errors.As(err, &invalid) && invalid.terminating && node.GetDeletionTimestamp() == nil {
		return false, nil // The caller has an older Node.
	}
	if err != nil {
		return false, fmt.Errorf("adding finalizer: %w", err)
	}
	return added, nil
}

// RemoveFinalizer removes our finalizer from a Node and no other one. A Node that is deleted is
// no error.
func (c Client) RemoveFinalizer(ctx context.Context, node metav1.Object) error {
	_, err := c.patch(ctx, node, map[string]any{"metadata": map[string]any{"$deleteFromPrimitiveList/finalizers": []string{api.Finalizer}}})
	if err != nil {
		return fmt.Errorf("removing finalizer: %w", err)
	}
	return nil
}

// RemoveFinalizerIfCordoned is RemoveFinalizer for a Node that must be cordoned at that moment. If
// it is not cordoned, or if its finalizers differ from the given Node, the error is of kind
// Invalid. A policy can return the same kind.
func (c Client) RemoveFinalizerIfCordoned(ctx context.Context, node metav1.Object) error {
	index := slices.Index(node.GetFinalizers(), api.Finalizer)
	if index < 0 {
		return nil
	}
	path := fmt.Sprintf("/metadata/finalizers/%d", index)
	_, err := c.send(ctx, node, types.JSONPatchType, []map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": node.GetUID()},
		{"op": "test", "path": "/spec/unschedulable", "value": true},
		{"op": "test", "path": path, "value": api.Finalizer},
		{"op": "remove", "path": path},
	}, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("removing finalizer: %w", err)
	}
	return nil
}

// SetConditions sets conditions of a Node and touches no other ones. Set is false if the Node is
// deleted.
func (c Client) SetConditions(ctx context.Context, node metav1.Object, conditions []corev1.NodeCondition) (set bool, err error) {
	// Each field is set separately: the encoded condition omits an empty reason or message, and
	// the merge would keep the previous one.
	entries := make([]map[string]any, 0, len(conditions))
	for _, condition := range conditions {
		entries = append(entries, map[string]any{
			"type": condition.Type, "status": condition.Status, "reason": condition.Reason, "message": condition.Message,
			"lastHeartbeatTime": condition.LastHeartbeatTime, "lastTransitionTime": condition.LastTransitionTime,
		})
	}
	set, err = c.patch(ctx, node, map[string]any{"metadata": map[string]any{}, "status": map[string]any{"conditions": entries}}, "status")
	if invalid := (InvalidError{}); errors.As(err, &invalid) {
		err = invalid.Cause // Whether the Node can be released is for its finalizer to show.
	}
	if err != nil {
		return false, fmt.Errorf("writing conditions of node %s: %w", node.GetName(), err)
	}
	return set, nil
}

// Check tries an update of the Node that changes nothing, as a dry run. Its error is an
// InvalidError if the API server rejects every update.
func (c Client) Check(ctx context.Context, node metav1.Object) error {
	nothing := map[string]any{"metadata": map[string]any{"uid": node.GetUID()}}
	_, err := c.send(ctx, node, types.StrategicMergePatchType, nothing, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// patch returns false without an error if no Node of that name has that UID any more.
func (c Client) patch(ctx context.Context, node metav1.Object, change map[string]any, subresources ...string) (bool, error) {
	change["metadata"].(map[string]any)["uid"] = node.GetUID()
	return c.send(ctx, node, types.StrategicMergePatchType, change, metav1.PatchOptions{}, subresources...)
}

// send is patch with a patch of any type, which has to name the UID, and with options.
func (c Client) send(ctx context.Context, node metav1.Object, kind types.PatchType, patch any, options metav1.PatchOptions, subresources ...string) (bool, error) {
	data, err := json.Marshal(patch)
	if err != nil {
		return false, fmt.Errorf("encoding the patch: %w", err)
	}
	_, err = c.nodes.Patch(ctx, node.GetName(), kind, data, options, subresources...)
	switch {
	case api.Absent(err):
		return false, nil
	case apierrors.IsInvalid(err):
		return false, c.explain(ctx, node, err)
	}
	return err == nil, err
}

// InvalidError reports that the API server rejects every update of the Node.
type InvalidError struct {
	Cause       error
	terminating bool
}

func (e InvalidError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e InvalidError) Unwrap() error { return e.Cause }

// explain distinguishes the reasons for a 422: the name belongs to another Node, which is no
// error, the Node holds a value that fails validation, or a policy denies the patch.
func (c Client) explain(ctx context.Context, node metav1.Object, cause error) error {
	current, err := c.nodes.Get(ctx, node.GetName(), metav1.GetOptions{})
	switch {
	case api.Absent(err), err == nil && current.UID != node.GetUID():
		return nil
	case err != nil:
		return fmt.Errorf("%w; reading the node to find out why: %w", cause, err)
	case !NamesField(cause):
		return cause
	}
	return InvalidError{cause, current.DeletionTimestamp != nil}
}

// NamesField reports whether an error is about a field of the object. A
// ValidatingAdmissionPolicy without a reason denies with 422, too, and names none.
func NamesField(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(cause metav1.StatusCause) bool { return cause.Field != "" })
}
