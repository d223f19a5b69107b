package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// conditions are the conditions that a Node is known to have, by type.
type conditions map[corev1.NodeConditionType]corev1.NodeCondition

// changes returns the wanted conditions that differ from the known ones. DrainInProgress
// and Drained are set to False only after a cleanup had set them to True, and stay as
// they are if somebody else set them.
func (c conditions) changes(wanted []corev1.NodeCondition) []corev1.NodeCondition {
	var changes []corev1.NodeCondition
	for _, condition := range wanted {
		known, exists := c[condition.Type]
		switch {
		case exists && known.Status == condition.Status && known.Reason == condition.Reason && known.Message == condition.Message:
			continue
		case condition.Type == api.ConditionCleanup:
		case !exists && condition.Status == corev1.ConditionFalse, exists && known.Reason != api.ReasonCleanupDrain:
			continue
		}
		if exists && known.Status == condition.Status {
			condition.LastTransitionTime = known.LastTransitionTime
		}
		changes = append(changes, condition)
	}
	return changes
}

// write patches the conditions that changed, all in one request.
func (n *Node) write(ctx context.Context, wanted []corev1.NodeCondition) error {
	changes := n.conditions.changes(wanted)
	if changes == nil {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": n.uid},
		"status":   map[string]any{"conditions": changes},
	})
	if err != nil {
		return fmt.Errorf("encoding the conditions of node %s: %w", n.name, err)
	}
	_, err = n.nodes.Patch(ctx, n.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsInvalid(err) {
		// The API server answers 422 to a wrong UID, and for a Node that no
		// longer passes validation.
		current, getErr := n.nodes.Get(ctx, n.name, metav1.GetOptions{})
		if getErr == nil && current.UID != n.uid {
			return nil
		}
		err = errors.Join(err, ignoreNotFound(getErr))
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing condition %s of node %s: %w", api.ConditionCleanup, n.name, err)
	}
	for _, condition := range changes {
		n.conditions[condition.Type] = condition
	}
	return nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
