package drain

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Verify implements cleanup.Verifier: the Node is cordoned, and it has no Pod that Cleanup
// would evict or wait for.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	name := target.Node.Name
	node, err := p.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading node %s: %w", name, err)
	}
	if node.UID != target.Node.UID {
		return "", cleanup.Permanent(fmt.Errorf("node %s with UID %s is deleted", name, target.Node.UID))
	}
	if !node.Spec.Unschedulable {
		return "the node is not cordoned", nil
	}
	list, err := p.listPods(ctx, name)
	if err != nil {
		return "", err
	}
	in := circumstancesOf(node, target, p.clock.Now())
	remaining, first := 0, ""
	for i := range list {
		pod := &list[i]
		in.late = in.cameLate(pod)
		if p.decide(pod, in).action == leave {
			continue
		}
		if remaining++; first == "" {
			first = nameOf(pod)
		}
	}
	switch remaining {
	case 0:
		return "", nil
	case 1:
		return fmt.Sprintf("pod %s is on the node", first), nil
	}
	return fmt.Sprintf("%d pods are on the node: %s and %d more", remaining, first, remaining-1), nil
}
