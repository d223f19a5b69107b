package controller

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// preflight checks the health of the plan's plugins before the first step: evicted Pods
// cannot be put back when the storage behind them turns out to be unreachable.
func (r *reconciler) preflight(ctx context.Context, c *cleanup) result {
	if c.record.Begun() || c.config.DryRun {
		return next
	}
	if c.record.State != api.Blocked { // That one keeps its reason.
		c.logUnpublished(c.show(ctx, api.Preflight, "checking the health of the plan's plugins; no step has started"))
	}
	results := r.Executor.CheckHealth(ctx, c.plan.Steps())
	if ctx.Err() != nil {
		return failed(context.Cause(ctx))
	}
	for _, result := range results {
		if result.Err != nil {
			c.log.Warn("plugin is unhealthy", "step", result.Step.Name, "critical", result.Step.Critical, "err", result.Err)
		}
	}
	reason := executor.UnhealthyCriticalSteps(results)
	if reason == "" {
		c.record.CheckAgainAt = nil
		return next
	}
	if c.record.State != api.Blocked || c.record.Message != reason {
		c.report.Publish(nodeevent.CleanupWaiting(reason))
	}
	at := metav1.NewMicroTime(r.Clock.Now().Add(api.CheckAgainAfter))
	c.record.State, c.record.Message, c.record.CheckAgainAt = api.Blocked, reason, &at
	return result{stop: true, err: r.save(ctx, c)}
}
