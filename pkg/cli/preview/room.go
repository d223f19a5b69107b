package preview

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// noRoom is the note of a plan that evicts Pods from the last schedulable Node.
const noRoom = "no other node is schedulable now: the pods that replace the evicted ones will stay Pending"

var errEnough = errors.New("enough nodes")

// room adds a note if the plan evicts Pods and no other Node can take Pods without tolerations.
func (p *Previewer) room(ctx context.Context, view *printer.Plan) error {
	evicts := slices.ContainsFunc(view.Steps, func(step printer.PlanStep) bool {
		return slices.ContainsFunc(step.Effects, func(effect cleanup.Effect) bool { return effect.Action == cleanup.Evict })
	})
	if !evicts {
		return nil
	}
	// Two names are enough to know of another one for each Node.
	p.readSchedulable.Do(func() {
		p.schedulableErr = cluster.EachNode(ctx, p.client.CoreV1(), func(node *corev1.Node) error {
			if schedulable(node) {
				p.schedulable = append(p.schedulable, node.Name)
			}
			if len(p.schedulable) == 2 {
				return errEnough
			}
			return nil
		})
	})
	switch {
	case p.schedulableErr != nil && !errors.Is(p.schedulableErr, errEnough) && !apierrors.IsForbidden(p.schedulableErr):
		return p.schedulableErr
	case p.schedulableErr == nil && !slices.ContainsFunc(p.schedulable, func(name string) bool { return name != view.Node }):
		view.Notes = append(view.Notes, noRoom)
	}
	return nil
}

// schedulable reports whether a Pod without tolerations can be scheduled on the Node now. A Node
// that is not ready has a taint.
func schedulable(node *corev1.Node) bool {
	return !node.Spec.Unschedulable && node.DeletionTimestamp == nil && !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Effect != corev1.TaintEffectPreferNoSchedule
	})
}
