package dashboard

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// NodeList is every Node with its pool and zone, sorted by name.
type NodeList struct {
	Nodes []NodeRow `json:"nodes"`
}

// row returns the row of a Node, nil if the list does not have it yet.
func (l *NodeList) row(name string) *NodeRow {
	i, found := slices.BinarySearchFunc(l.Nodes, name, func(row NodeRow, name string) int { return cmp.Compare(row.Name, name) })
	if !found {
		return nil
	}
	return &l.Nodes[i]
}

// NodeRow is one Node.
type NodeRow struct {
	printer.Node
	Pool string `json:"pool,omitempty"`
	Zone string `json:"zone,omitempty"`
}

// zoneLabel is the well-known label of the zone.
const zoneLabel = corev1.LabelTopologyZone

// poolLabels name the pool of a Node, by provider: Karpenter, EKS, GKE, AKS, Gardener, kOps, DigitalOcean, Scaleway.
var poolLabels = []string{
	"karpenter.sh/nodepool", "eks.amazonaws.com/nodegroup", "cloud.google.com/gke-nodepool", "kubernetes.azure.com/agentpool", "worker.gardener.cloud/pool",
	"kops.k8s.io/instancegroup", "doks.digitalocean.com/node-pool", "k8s.scaleway.com/pool-name",
}

// trim keeps only what is shown of a Node.
func trim(node *corev1.Node) *corev1.Node {
	trimmed := inspect.Trim(node)
	if trimmed.Labels != nil {
		return trimmed
	}
	trimmed.Labels = map[string]string{}
	for _, label := range append([]string{zoneLabel}, poolLabels...) {
		if value := node.Labels[label]; value != "" {
			trimmed.Labels[label] = value
		}
	}
	return trimmed
}

func nodeList(nodes []*corev1.Node, seen *inspect.Snapshot, status *printer.Status, now time.Time) *NodeList {
	list := &NodeList{Nodes: make([]NodeRow, 0, len(nodes))}
	labels := map[string]map[string]string{}
	for _, node := range nodes {
		labels[node.Name] = node.Labels
	}
	for _, node := range inspect.NodeList(nodes, seen, &status.Agent, seen.Absence(), now).Nodes {
		list.Nodes = append(list.Nodes, NodeRow{Node: node, Pool: first(labels[node.Name], poolLabels), Zone: labels[node.Name][zoneLabel]})
	}
	return list
}

// first returns the value of the first of the keys that has one.
func first(values map[string]string, keys []string) string {
	for _, key := range keys {
		if value := values[key]; value != "" {
			return value
		}
	}
	return ""
}
