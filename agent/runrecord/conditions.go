package runrecord

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

// conditions are what is known about a Node's conditions, by type.
type conditions map[corev1.NodeConditionType]corev1.NodeCondition

// news returns which of them say something else than is known. That no drain is going on
// or done is news only where one was, and of a drain that is somebody else's there is none.
func (c conditions) news(said []corev1.NodeCondition) []corev1.NodeCondition {
	var news []corev1.NodeCondition
	for _, condition := range said {
		known, there := c[condition.Type]
		switch {
		case there && known.Status == condition.Status && known.Reason == condition.Reason && known.Message == condition.Message:
			continue
		case condition.Type == api.ConditionCleanup:
		case !there && condition.Status == corev1.ConditionFalse, there && known.Reason != api.ReasonCleanupDrain:
			continue
		}
		if there && known.Status == condition.Status {
			condition.LastTransitionTime = known.LastTransitionTime
		}
		news = append(news, condition)
	}
	return news
}

// write sets the Node's conditions that say something new, all in one request.
func (r *NodeReporter) write(ctx context.Context, said []corev1.NodeCondition) error {
	news := r.conditions.news(said)
	if news == nil {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": r.uid},
		"status":   map[string]any{"conditions": news},
	})
	if err != nil {
		return fmt.Errorf("encoding the conditions of node %s: %w", r.name, err)
	}
	_, err = r.nodes.Patch(ctx, r.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsInvalid(err) {
		// So the API server answers to a wrong UID, and to a Node that no
		// longer passes validation.
		current, getErr := r.nodes.Get(ctx, r.name, metav1.GetOptions{})
		if getErr == nil && current.UID != r.uid {
			return nil
		}
		err = errors.Join(err, ignoreNotFound(getErr))
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing condition %s of node %s: %w", api.ConditionCleanup, r.name, err)
	}
	for _, condition := range news {
		r.conditions[condition.Type] = condition
	}
	return nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
