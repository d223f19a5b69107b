package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// withdrawTimeout limits one call of Withdraw.
const withdrawTimeout = 30 * time.Second

// Withdraw makes the plugins of the steps withdraw the requests that an unfinished cleanup of the Node
// has made to other programs. It joins the errors of the plugins.
func (e *Executor) Withdraw(ctx context.Context, steps []config.Step, node *corev1.Node, log *slog.Logger) error {
	var failed []error
	for _, step := range steps {
		if _, can := step.Bound.(cleanup.Withdrawer); !can {
			continue
		}
		if done := e.callOnce(ctx, withdraw, step, node, log, withdrawTimeout); done.err != nil {
			failed = append(failed, fmt.Errorf("withdrawing step %s: %w", step.Name, done.err))
		}
	}
	return errors.Join(failed...)
}

func withdraw(ctx context.Context, plugin cleanup.Plugin, target cleanup.Target) ([]cleanup.Effect, error) {
	return nil, plugin.(cleanup.Withdrawer).Withdraw(ctx, target)
}
