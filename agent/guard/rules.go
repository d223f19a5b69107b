package guard

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// rule returns what blocks a deletion, or nil.
type rule struct {
	name   Rule
	blocks func(config.DeleteGuard, Deletion, Facts) *Blocker
}

// rules of the config, in the order of a message. Each applies to the Nodes that nodeSelector
// selects; the annotation comes before them, and applies to every Node.
var rules = []rule{
	{ControlPlane, controlPlane},
	{CriticalPods, criticalPods},
	{LastSchedulable, lastSchedulable},
	{MaxTerminating, maxTerminating},
}

func protected(node *corev1.Node) *Blocker {
	wanted, err := api.Protected(node)
	if !wanted {
		return nil
	}
	what := "it is protected by the annotation " + api.AnnotationProtect
	if err != nil {
		what = "it counts as protected: " + err.Error()
	}
	return &Blocker{Protect, what, fmt.Sprintf("to remove it: kubectl annotate node %s %s-", node.Name, api.AnnotationProtect)}
}

// controlPlaneLabels mark the Nodes of a control plane. Kubernetes 1.24 removed the second;
// clusters still have it.
var controlPlaneLabels = []string{"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}

func controlPlane(guard config.DeleteGuard, deletion Deletion, _ Facts) *Blocker {
	if guard.ControlPlane != config.Refuse {
		return nil
	}
	at := slices.IndexFunc(controlPlaneLabels, func(label string) bool { _, is := deletion.Node.Labels[label]; return is })
	if at < 0 {
		return nil
	}
	return &Blocker{ControlPlane, "it is a control-plane node, by its label " + controlPlaneLabels[at],
		"delete it with the tool that created it, whose user guard.exempt can name"}
}

func criticalPods(_ config.DeleteGuard, deletion Deletion, facts Facts) *Blocker {
	if len(facts.CriticalPods) == 0 {
		return nil
	}
	return &Blocker{CriticalPods, "critical pods run on it: " + some(facts.CriticalPods),
		fmt.Sprintf("move them first: kubectl nodecleanup cleanup %s --wait", deletion.Node.Name)}
}

func lastSchedulable(guard config.DeleteGuard, deletion Deletion, facts Facts) *Blocker {
	if guard.LastSchedulable != config.Refuse || facts.OtherSchedulable || !worker(deletion.Node) {
		return nil
	}
	return &Blocker{LastSchedulable, "no other node is schedulable: all are cordoned, tainted or terminating",
		"add a node, or uncordon one: kubectl get nodes; kubectl uncordon NODE"}
}

func maxTerminating(guard config.DeleteGuard, _ Deletion, facts Facts) *Blocker {
	if !guard.MaxTerminating.Set() || len(facts.Terminating) < guard.MaxTerminating.Of(facts.Nodes) {
		return nil
	}
	limit := guard.MaxTerminating.String()
	if guard.MaxTerminating.Percent > 0 {
		limit += fmt.Sprintf(" of %d, which is %d", facts.Nodes, guard.MaxTerminating.Of(facts.Nodes))
	}
	others := "1 other node is terminating"
	if n := len(facts.Terminating); n > 1 {
		others = fmt.Sprintf("%d other nodes are terminating", n)
	}
	return &Blocker{MaxTerminating, fmt.Sprintf("%s, and guard.maxTerminating is %s: %s", others, limit, some(facts.Terminating)),
		"wait until one is removed: kubectl nodecleanup status -w"}
}

// shown is how many names a message lists; it counts the others.
const shown = 3

func some(names []string) string {
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}
