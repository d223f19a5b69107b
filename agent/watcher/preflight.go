package watcher

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// checkAgain is how long a blocked cleanup waits before it looks again.
const checkAgain = 30 * time.Second

// preflight asks, before the first step begins, whether the plugins in the plan
// have a chance: pods that were evicted cannot be put back when it turns out
// that the storage behind them cannot be reached. It reports whether to begin.
func (c *cleanup) preflight(ctx context.Context, built plan.Plan) (begin bool, err error) {
	if begun(c.record) || c.config.DryRun {
		return true, nil
	}
	c.showPreflight(ctx)
	answers := c.Executor.CheckHealth(ctx, built.Steps())
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	for _, one := range answers {
		if one.Err == nil {
			continue
		}
		c.log.Warn("plugin is not healthy", "step", one.Step.Name, "critical", one.Step.Critical, "err", one.Err)
	}
	message := executor.Blocking(answers)
	if message == "" {
		c.record.CheckAgainAt = nil
		return true, nil
	}
	if c.record.State != api.Blocked || c.record.Message != message {
		c.report.CleanupWaiting(message)
	}
	next := metav1.NewMicroTime(c.Clock.Now().Add(checkAgain))
	c.record.State, c.record.Message, c.record.CheckAgainAt = api.Blocked, message, &next
	return false, c.save(ctx, c.record)
}

// showPreflight says what the run is about, for the case that a plugin takes its time. A
// cleanup that was blocked goes on saying why.
func (c *cleanup) showPreflight(ctx context.Context) {
	if c.record.State == api.Blocked {
		return
	}
	shown := *c.record
	shown.State, shown.Message = api.Preflight, "asking the plugins of the plan whether they would have a chance; nothing was begun yet"
	if err := c.report.Run(ctx, &shown); err != nil {
		c.notTold(err)
	}
}
