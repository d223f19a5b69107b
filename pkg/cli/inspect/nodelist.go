package inspect

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// NodeList returns the view of all nodes, sorted by name. The snapshot knows those that are leaving, with their run records, and the
// config's nodeSelector. The agent may be nil. Absence qualifies what the agent has stored about a cleanup.
func NodeList(nodes []*corev1.Node, leaving *Snapshot, agent *printer.Agent, absence Absence, now time.Time) *printer.NodeList {
	list := printer.NewNodeList(now)
	for _, node := range nodes {
		bypass := Bypass(node, now)
		row := printer.Node{
			Name: node.Name, UID: string(node.UID), Protected: api.HasFinalizer(node) && bypass == nil, Bypass: bypass, Cordoned: node.Spec.Unschedulable, Created: node.CreationTimestamp,
		}
		if !api.HasFinalizer(node) && !leaving.CleanupBegun(node) {
			row.Unprotected = Unprotected(node, leaving.Selector, agent)
		}
		if condition := api.CleanupConditionOf(node); node.DeletionTimestamp != nil || condition != nil {
			cleanup := CleanupRow(node, leaving.Runs[node.UID], leaving.Unreadable[node.UID], absence)
			row.State, row.Stuck, row.Step, row.Reason, row.Since = cleanup.State, cleanup.Stuck, cleanup.Step, cleanup.Reason, cleanup.Since
		}
		list.Nodes = append(list.Nodes, row)
	}
	slices.SortFunc(list.Nodes, func(a, b printer.Node) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
