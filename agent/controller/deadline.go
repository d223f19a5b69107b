package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// deadlineReleases reports whether the deadline has passed and the config releases the
// Node then.
func (r *reconciler) deadlineReleases(c *cleanup) bool {
	remaining, limited := r.untilDeadline(c)
	return limited && remaining <= 0 && c.config.Deadline.Action == config.Release
}

// untilDeadline returns the time that remains of the deadline of a terminating Node; limited
// is false if there is no deadline. No API server's clock can make it shorter than it is, see
// serverclock.
func (r *reconciler) untilDeadline(c *cleanup) (remaining time.Duration, limited bool) {
	remaining = c.config.Deadline.After
	if since := r.states.get(c.cached.UID).sinceDeletion; since != nil {
		passed := since()
		if c.config.Deadline.Action == config.Release { // A Node that had to wait is not released for it.
			passed = min(passed, r.Brake.OpenFor())
		}
		remaining -= passed
	}
	return remaining, c.config.Deadline.After > 0 && c.cached.DeletionTimestamp != nil
}

// publishDeadline publishes once that the deadline of a terminating Node has passed. It
// returns the time until then, 0 if there is nothing left to publish.
func (r *reconciler) publishDeadline(c *cleanup) time.Duration {
	deadline := c.config.Deadline
	if remaining, limited := r.untilDeadline(c); !limited || remaining > 0 {
		return max(0, remaining)
	}
	published := false
	r.states.update(c.cached.UID, func(s *nodeState) { published, s.late = s.late, true })
	if !published {
		c.log.Warn("deadline passed", "deadline", deadline.After, "action", deadline.Action)
		r.Reporter.ForMetadata(c.cached).Publish(nodeevent.CleanupDeadline(deadline.After, deadline.Action == config.Release))
	}
	return 0
}

// onDeadline acts on a cleanup that takes longer than the config allows.
func (r *reconciler) onDeadline(ctx context.Context, c *cleanup) result {
	if c.config.Deadline.After == 0 || r.publishDeadline(c) > 0 {
		return next
	}
	if c.config.Deadline.Action == config.Release {
		c.record.BypassReason = fmt.Sprintf("deadline of %s exceeded (deadline.action: Release)", c.config.Deadline.After)
		return r.releaseBypassed(ctx, c, "released with unfinished steps: "+c.record.BypassReason, false)
	}
	if c.record.DeadlinePassed || c.record.PlanHash == "" {
		return next // A run that has not started is saved when it starts.
	}
	return failed(r.save(ctx, c))
}

// orDeadline returns d, or the time until the deadline if that is sooner. A d of 0 means
// "when something changes".
func (r *reconciler) orDeadline(c *cleanup, d time.Duration) time.Duration {
	if remaining, limited := r.untilDeadline(c); limited && remaining > 0 {
		return sooner(d, remaining)
	}
	return d
}
