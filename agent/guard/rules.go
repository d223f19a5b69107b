package guard

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// rule returns what is in the way of a deletion, nil for nothing.
type rule struct {
	name   Rule
	blocks func(config.Guard, Request, Facts) *Blocker
}

// rules of the config, in the order in which they are told. Each holds for the Nodes that
// config selects; the annotation is asked before them, and holds for every Node.
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
		what = "it counts as protected, for its " + err.Error()
	}
	return &Blocker{Protect, what, fmt.Sprintf("take that off: kubectl annotate node %s %s-", node.Name, api.AnnotationProtect)}
}

// controlPlaneLabels mark the Nodes of a control plane; the second was retired with
// Kubernetes 1.24, and is still about.
var controlPlaneLabels = []string{"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}

func controlPlane(guard config.Guard, request Request, _ Facts) *Blocker {
	if guard.ControlPlane != config.Refuse {
		return nil
	}
	at := slices.IndexFunc(controlPlaneLabels, func(label string) bool { _, is := request.Node.Labels[label]; return is })
	if at < 0 {
		return nil
	}
	return &Blocker{ControlPlane, "it is a control-plane node, by its label " + controlPlaneLabels[at],
		"have it removed by the tool that made it, whose user the config can exempt (guard.exempt)"}
}

func criticalPods(_ config.Guard, request Request, facts Facts) *Blocker {
	if len(facts.CriticalPods) == 0 {
		return nil
	}
	return &Blocker{CriticalPods, "critical pods run on it: " + some(facts.CriticalPods),
		fmt.Sprintf("move them first: kubectl nodecleanup cleanup %s --wait", request.Node.Name)}
}

func lastSchedulable(guard config.Guard, request Request, facts Facts) *Blocker {
	if guard.LastSchedulable != config.Refuse || facts.OtherSchedulable || !worker(request.Node) {
		return nil
	}
	return &Blocker{LastSchedulable, "no other node takes pods: all are cordoned, tainted or terminating",
		"add a node, or make one schedulable: kubectl get nodes; kubectl uncordon NODE"}
}

func maxTerminating(guard config.Guard, _ Request, facts Facts) *Blocker {
	if !guard.MaxTerminating.Set() || len(facts.Terminating) < guard.MaxTerminating.Of(facts.Nodes) {
		return nil
	}
	limit := guard.MaxTerminating.String()
	if guard.MaxTerminating.Percent > 0 {
		limit += fmt.Sprintf(" of %d, which is %d", facts.Nodes, guard.MaxTerminating.Of(facts.Nodes))
	}
	others := "1 other node terminates already"
	if n := len(facts.Terminating); n > 1 {
		others = fmt.Sprintf("%d other nodes terminate already", n)
	}
	return &Blocker{MaxTerminating, fmt.Sprintf("%s, and the config allows %s at once: %s", others, limit, some(facts.Terminating)),
		"wait until one is gone: kubectl nodecleanup status -w"}
}

// shown is how many names are told; the rest is counted.
const shown = 3

func some(names []string) string {
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}
