package controller

import (
	"context"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// comparePlan refuses a cleanup on request whose plan is not the one that was requested. Before the
// first step begins, it previews the steps and compares everything. Afterwards the cleanup itself
// changes the effects, so it compares the config and the steps.
func (r *reconciler) comparePlan(ctx context.Context, c *cleanup) result {
	if c.record.RequestedPlan == "" {
		return next
	}
	requested, err := plan.ParseHash(c.record.RequestedPlan)
	if err != nil {
		return r.refuse(ctx, c, fmt.Sprintf("annotation %s: %v", api.AnnotationCleanupRequestedPlan, err))
	}
	begun, now := c.record.Begun(), c.plan.Hash(c.node.UID, c.config)
	if c.terminating() {
		// A deletion runs the current plan. The record must not call it the requested one.
		if !begun || requested.Changes(now) != "" {
			c.log.Info("the node was deleted: its cleanup may differ from the requested plan", "requested", c.record.RequestedPlan)
			c.record.RequestedPlan = ""
		}
		return next
	}
	if !begun {
		effects, err := r.Executor.Preview(ctx, c.plan.Steps(), c.node, c.log)
		if ctx.Err() != nil {
			return failed(context.Cause(ctx))
		}
		if err != nil {
			return r.refuse(ctx, c, fmt.Sprintf("the agent cannot compute the plan to compare it with plan %s: %v", c.record.RequestedPlan, err))
		}
		now = now.WithEffects(effects)
	}
	if changes := requested.Changes(now); changes != "" {
		return r.refuse(ctx, c, fmt.Sprintf("plan %s is out of date: %s", c.record.RequestedPlan, changes))
	}
	return next
}

// refuse ends a cleanup on request whose plan is not the one that was requested.
func (r *reconciler) refuse(ctx context.Context, c *cleanup, reason string) result {
	if c.record.Begun() {
		reason += "; no further step runs"
	} else {
		reason += "; no step has run"
	}
	c.record.Refused = true
	next := ". Show the current plan: kubectl nodecleanup plan " + c.node.Name
	return result{stop: true, err: r.end(ctx, c, "refused: "+reason, nodeevent.CleanupRefused(reason+next))}
}
