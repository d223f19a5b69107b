package controller

import (
	"context"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// awaitBrake stops a cleanup that has not begun while no cleanup may begin. When that changes,
// every Node is reconciled.
func (r *reconciler) awaitBrake(ctx context.Context, c *cleanup) result {
	reason := r.Brake.Reason()
	if reason == "" || c.record.Begun() || c.record.State.Released() {
		return next
	}
	if condition := api.CleanupConditionOf(c.node); (condition == nil || condition.Message != reason) && !r.bulk() {
		c.report.Publish(nodeevent.CleanupWaiting(reason))
	}
	return result{stop: true, after: r.orDeadline(c, 0), err: c.show(ctx, api.Pending, reason)}
}
