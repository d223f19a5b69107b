package inspect

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Unprotected returns the cause why a Node lacks the finalizer, empty if it is unknown. The
// selector comes from the config, nil if the config is unknown. The agent may be nil too.
func Unprotected(node *corev1.Node, selector labels.Selector, agent *printer.Agent) string {
	switch {
	case selector != nil && !selector.Matches(labels.Set(node.Labels)):
		return fmt.Sprintf("outside the config's nodeSelector %q", selector)
	case node.DeletionTimestamp != nil:
		return "deleted before it got the finalizer"
	case agent != nil && !agent.HasLeader:
		return "no agent adds the finalizer: " + agent.Problem
	}
	return ""
}
