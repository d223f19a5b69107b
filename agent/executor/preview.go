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

// previewTimeout limits the preview of one step.
const previewTimeout = 2 * time.Minute

// Preview returns the effects that the steps would have, by the name of the step. A plugin without
// a preview has none. Preview changes nothing, and returns the error of the first step that fails.
func (e *Executor) Preview(ctx context.Context, steps []config.Step, node *corev1.Node, log *slog.Logger) (map[string][]cleanup.Effect, error) {
	effects := map[string][]cleanup.Effect{}
	for _, step := range steps {
		if _, can := step.Bound.(cleanup.Previewer); !can {
			continue
		}
		done := e.callOnce(ctx, preview, step, node, log, previewTimeout)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if done.err != nil {
			return nil, errors.New(e.redact(fmt.Sprintf("previewing step %s: %v", step.Name, done.err)))
		}
		effects[step.Name] = done.effects
	}
	return effects, nil
}
