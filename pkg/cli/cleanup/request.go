package cleanup

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
)

// request requests the cleanup of nodes. If another user has requested the cleanup of a node
// in the meantime, the command follows that one, unless it is by another plan.
func (o *Options) request(ctx context.Context, client kubernetes.Interface, results *command.Results, planned []*preview.Planned) []request {
	if len(planned) == 0 {
		return nil
	}
	annotations := map[string]any{
		api.AnnotationCleanupRequestedAt: o.Stamp(), api.AnnotationCleanupRequestedBy: command.WhoAmI(ctx, client), api.AnnotationCleanupRequestedPlan: nil,
	}
	if o.Plan != "" {
		annotations[api.AnnotationCleanupRequestedPlan] = o.Plan
	}
	var requested []request
	command.ForEach(results, planned, 1, func(one *preview.Planned) error {
		node, first, err := mark(ctx, client, one.Node, annotations)
		if err != nil {
			return err
		}
		made := request{node: node, asked: api.CleanupRequestOf(node), plan: o.Plan}
		switch {
		case node.DeletionTimestamp != nil:
			return beingDeleted(node)
		case first:
			results.Done("node/%s cleanup requested", node.Name)
		case o.Plan != "" && made.asked.Plan != o.Plan:
			return anotherPlan(node, o.Plan)
		default:
			results.Done("node/%s %s", node.Name, made.since())
		}
		requested = append(requested, made)
		return nil
	})
	return requested
}

// mark sets the annotations on a node. If the node is being deleted or its request has changed
// since it was read, first is false. It returns the current node.
func mark(ctx context.Context, client kubernetes.Interface, read *corev1.Node, annotations map[string]any) (now *corev1.Node, first bool, err error) {
	now = read
	for {
		marked, err := command.AnnotateUnchanged(ctx, client, now, annotations)
		if !apierrors.IsConflict(err) {
			return marked, err == nil, err
		}
		uid := now.UID
		current, unread := command.Node(ctx, client, now.Name)
		switch {
		case unread != nil:
			return nil, false, unread
		case current.UID != uid:
			return nil, false, err
		}
		now = current
		if request := api.CleanupRequestOf(now); now.DeletionTimestamp != nil || request.At != "" && request != api.CleanupRequestOf(read) {
			return now, false, nil
		}
	}
}
