package preview

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// plansAtOnce bounds the load: each plan asks for the pods of a node and, for each pod, for an
// eviction that is a dry run.
const plansAtOnce = 8

// Planned is a node with its plan.
type Planned struct {
	Node *corev1.Node
	Plan *printer.Plan
}

// Plans plans several nodes. It leaves those out that cannot be planned, and reports why to
// the results.
func (p *Previewer) Plans(ctx context.Context, results *command.Results, nodes []*corev1.Node) []*Planned {
	all := make([]*Planned, len(nodes))
	for i, node := range nodes {
		all[i] = &Planned{Node: node}
	}
	return command.ForEach(results, all, plansAtOnce, func(one *Planned) error {
		plan, err := p.Plan(ctx, one.Node)
		if err != nil {
			return fmt.Errorf("planning the cleanup of node %s: %w", one.Node.Name, err)
		}
		one.Plan = plan
		return nil
	})
}
