package drain

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Preview implements cleanup.Previewer: each pod with its verdict, and whether
// its budget would let it go, by an eviction that is a dry run.
func (p *plugin) Preview(ctx context.Context, target cleanup.Target) ([]string, error) {
	list, err := p.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: podsOf(target.Node.Name).String()})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of node %s: %w", target.Node.Name, err)
	}
	var lines []string
	if !target.Node.Spec.Unschedulable {
		lines = append(lines, "cordon")
	}
	in := circumstances{unreachable: unreachable(target.Node), now: p.clock.Now()}
	for i := range list.Items {
		pod := &list.Items[i]
		verdict := p.judge(pod, in)
		if verdict.action == evict {
			release, err := p.limiter.acquire(ctx, pod.Spec.NodeName)
			if err != nil {
				return nil, err
			}
			err = p.evict(ctx, pod, p.grace(in.unreachable), true)
			release()
			if err != nil {
				verdict.reason = "not now: " + err.Error()
			}
		}
		line := fmt.Sprintf("%s %s", verdict.action, nameOf(pod))
		if verdict.reason != "" {
			line += " (" + verdict.reason + ")"
		}
		lines = append(lines, line)
	}
	return lines, nil
}
