package drain

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cordon"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/sleep"
)

// cordon cordons the Node. It retries with the backoff of evictions while the API server or a webhook
// on Nodes does not answer, so that a short outage does not use up the attempts of the step.
func (p *plugin) cordon(ctx context.Context, target cleanup.Target, node *corev1.Node) error {
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		err := cordon.Set(ctx, p.client.CoreV1().Nodes(), node)
		if err == nil || !api.Retriable(err) || ctx.Err() != nil {
			return err
		}
		problem := oneLine(err)
		if remedy := api.FailureOf(err).Remedy(); remedy != "" {
			problem += "; " + remedy
		}
		target.Progress(problem)
		if err := sleep.For(ctx, p.clock, delay); err != nil {
			return fmt.Errorf("%s: %w", problem, err)
		}
	}
}
