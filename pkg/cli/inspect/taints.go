package inspect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// untolerated is a taint on a Node that a Pod does not tolerate.
type untolerated struct {
	taint corev1.Taint
	node  string
	// beside is the number of such taints on the Node.
	beside int
}

// shownTaints is how many taints a text names.
const shownTaints = 3

// conditionTaints are the taints that Kubernetes sets for a condition of a Node, and removes when it ends, with what
// ends it: https://kubernetes.io/docs/reference/labels-annotations-taints/
var conditionTaints = map[string]string{
	corev1.TaintNodeDiskPressure:       "free disk space on node %s",
	corev1.TaintNodeMemoryPressure:     "free memory on node %s",
	corev1.TaintNodePIDPressure:        "end processes on node %s",
	corev1.TaintNodeNotReady:           "repair node %s, which is not ready",
	corev1.TaintNodeUnreachable:        "repair node %s, whose kubelet does not answer",
	corev1.TaintNodeNetworkUnavailable: "repair the network of node %s",
}

// rank orders taints: those of a condition first, then a cordon.
func rank(taint corev1.Taint) int {
	switch {
	case conditionTaints[taint.Key] != "":
		return 0
	case taint.Key == corev1.TaintNodeUnschedulable:
		return 1
	}
	return 2
}

// readTaints adds to the stall of a Pod that the scheduler places on no Node which taints the Pod does not tolerate, and
// what to do about one. Without the right to read Nodes it adds nothing.
func (s *Snapshot) readTaints(ctx context.Context, client kubernetes.Interface, pods []corev1.Pod) error {
	at := slices.IndexFunc(pods, func(pod corev1.Pod) bool { return pod.Name == s.Stall.Pod })
	if at < 0 {
		return nil
	}
	spec := pods[at].Spec
	var found []untolerated
	err := cluster.EachNode(ctx, client.CoreV1(), func(node *corev1.Node) error {
		if node.DeletionTimestamp == nil && labels.SelectorFromSet(spec.NodeSelector).Matches(labels.Set(node.Labels)) {
			found = append(found, untoleratedOf(node, spec.Tolerations)...)
		}
		return nil
	})
	switch {
	case apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return err
	case len(found) == 0:
		return nil
	}
	s.Stall.Text += "; untolerated taints: " + describeTaints(found)
	s.taintRemedy = taintRemedy(slices.MinFunc(found, func(a, b untolerated) int {
		return cmp.Or(cmp.Compare(a.beside, b.beside), cmp.Compare(rank(a.taint), rank(b.taint)), cmp.Compare(a.node, b.node))
	}))
	return nil
}

// untoleratedOf returns the taints of a Node that keep a Pod away, one for each key.
func untoleratedOf(node *corev1.Node, tolerations []corev1.Toleration) []untolerated {
	var found []untolerated
	for _, taint := range node.Spec.Taints {
		tolerated := slices.ContainsFunc(tolerations, func(toleration corev1.Toleration) bool {
			return toleration.ToleratesTaint(klog.Background(), &taint, true)
		})
		known := slices.ContainsFunc(found, func(other untolerated) bool { return other.taint.Key == taint.Key })
		if taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated && !known {
			found = append(found, untolerated{taint: taint, node: node.Name})
		}
	}
	for i := range found {
		found[i].beside = len(found)
	}
	return found
}

// describeTaints names the taints and their Nodes.
func describeTaints(found []untolerated) string {
	nodes := map[string][]string{}
	var order []corev1.Taint
	for _, one := range found {
		if nodes[one.taint.Key] == nil {
			order = append(order, one.taint)
		}
		nodes[one.taint.Key] = append(nodes[one.taint.Key], one.node)
	}
	slices.SortFunc(order, func(a, b corev1.Taint) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Key, b.Key)) })
	var texts []string
	for _, taint := range order[:min(len(order), shownTaints)] {
		where := "node " + nodes[taint.Key][0]
		if count := len(nodes[taint.Key]); count > 1 {
			where = api.Count(count, "node")
		}
		texts = append(texts, fmt.Sprintf("%s (%s)", taint.Key, where))
	}
	if more := len(order) - shownTaints; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(texts, ", ")
}

// taintRemedy returns what to do about a taint.
func taintRemedy(one untolerated) string {
	if what := conditionTaints[one.taint.Key]; what != "" {
		return fmt.Sprintf(what+", then Kubernetes removes taint %s: kubectl describe node %s", one.node, one.taint.Key, one.node)
	}
	if one.taint.Key == corev1.TaintNodeUnschedulable {
		return "kubectl uncordon " + one.node
	}
	return fmt.Sprintf("add a node without taint %s, or let the agent tolerate it (%sinstall.md), or remove it: kubectl taint node %s %s:%s-",
		one.taint.Key, api.Documents, one.node, one.taint.Key, one.taint.Effect)
}
