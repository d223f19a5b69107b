package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// deadlineReleases reports whether the deadline has passed and the config releases the
// Node then.
func (r *reconciler) deadlineReleases(c *cleanup) bool {
	deadline := c.config.Deadline
	return deadline.Action == config.Release && deadline.After > 0 && c.cached.DeletionTimestamp != nil && r.untilDeadline(c) <= 0
}

// untilDeadline returns the time that remains of the deadline of a terminating Node. No API
// server's clock can make it shorter than it is, see serverclock.
func (r *reconciler) untilDeadline(c *cleanup) time.Duration {
	since := r.states.get(c.cached.UID).sinceDeletion
	if since == nil {
		return c.config.Deadline.After
	}
	return c.config.Deadline.After - since()
}

// publishDeadline publishes once that the deadline of a terminating Node has passed. It
// returns the time until then, 0 if there is nothing left to publish.
func (r *reconciler) publishDeadline(c *cleanup) time.Duration {
	deadline := c.config.Deadline
	if deadline.After == 0 {
		return 0
	}
	if remaining := r.untilDeadline(c); remaining > 0 {
		return remaining
	}
	published := false
	r.states.update(c.cached.UID, func(s *nodeState) { published, s.late = s.late, true })
	if !published {
		c.log.Warn("deadline passed", "deadline", deadline.After, "action", deadline.Action)
		r.Reporter.ForMetadata(c.cached).Publish(report.CleanupDeadline(deadline.After, deadline.Action == config.Release))
	}
	return 0
}

// onDeadline acts on a cleanup that takes longer than the config allows.
func (r *reconciler) onDeadline(ctx context.Context, c *cleanup) result {
	if c.config.Deadline.After == 0 || r.publishDeadline(c) > 0 {
		return next
	}
	if c.config.Deadline.Action == config.Release {
		c.record.BypassReason = fmt.Sprintf("the config's deadline of %s", c.config.Deadline.After)
		return r.releaseBypassed(ctx, c, "released with what was done: "+c.record.BypassReason, false)
	}
	if c.record.DeadlinePassed || c.record.PlanHash == "" {
		return next // A run that has not started is saved when it starts.
	}
	return failed(r.save(ctx, c))
}

// orDeadline returns d, or the time until the deadline if that is sooner. A d of 0 means
// "when something changes".
func (r *reconciler) orDeadline(c *cleanup, d time.Duration) time.Duration {
	if c.config.Deadline.After == 0 || c.cached.DeletionTimestamp == nil {
		return d
	}
	if remaining := r.untilDeadline(c); remaining > 0 {
		return sooner(d, remaining)
	}
	return d
}
