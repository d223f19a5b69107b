package drain

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cordon"
)

// cordon cordons the Node. While the API server does not answer, or a webhook on Nodes does not, it
// waits as an eviction does: the attempts of a step are for what does not pass by itself.
func (p *plugin) cordon(ctx context.Context, target cleanup.Target, node *corev1.Node) error {
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		err := cordon.Set(ctx, p.client.CoreV1().Nodes(), node)
		if err == nil || !api.Unanswered(err) || ctx.Err() != nil {
			return err
		}
		said := oneLine(err)
		if remedy := api.FailureOf(err).Remedy(); remedy != "" {
			said += "; " + remedy
		}
		target.Progress(said)
		timer := p.clock.NewTimer(delay)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", said, context.Cause(ctx))
		}
	}
}
