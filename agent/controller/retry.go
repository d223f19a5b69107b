package controller

import (
	"context"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	contract "github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// awaitRetry stops a cleanup that failed or waits, unless there is a reason to retry now.
func (r *reconciler) awaitRetry(ctx context.Context, c *cleanup) result {
	r.resetForRetry(ctx, c)
	now := r.Clock.Now()
	if c.record.State == api.Failed {
		if err := c.report.State(ctx, api.Failed, c.record.Message); err != nil {
			return failed(err)
		}
		return stopFor(r.orDeadline(c, 0))
	}
	wait := r.states.get(c.node.UID).retryAt.Sub(now)
	switch at := c.record.NextAttempt(); {
	case c.record.State == api.Waiting && at.After(now):
		wait = at.Sub(now)
	case c.record.State == api.Blocked && c.record.CheckAgainAt != nil && c.record.CheckAgainAt.After(now):
		wait = c.record.CheckAgainAt.Sub(now)
	}
	if wait > 0 {
		return stopFor(r.orDeadline(c, wait))
	}
	return next
}

// resetForRetry resets the failed and waiting steps of a run if there is a reason to retry
// them now.
func (r *reconciler) resetForRetry(ctx context.Context, c *cleanup) {
	requested := c.node.Annotations[api.AnnotationRetryRequestedAt]
	reason := retryReason(c.record, c.config.Hash, requested, r.secretWrittenSince(c))
	if reason == "" {
		return
	}
	c.log.Info("retrying the cleanup", "reason", reason)
	if reason == retryRequested {
		by := c.node.Annotations[api.AnnotationRetryRequestedBy]
		c.record.RetryRequestedBy, c.record.RetryRequestedByVerified = by, r.nameVerified(ctx, c, by)
		c.report.Publish(nodeevent.CleanupRetried(c.record))
	}
	c.record.RetryRequestedAt = requested
	c.record.Reset()
}

// Reasons to retry a cleanup now.
const (
	retryRequested = "requested by an operator"
	retryConfig    = "the config changed"
	retrySecret    = "a secret of a step was written since the last attempt"
)

// retryReason returns why a cleanup is retried now, or "". A completed cleanup is never retried. Its
// retry request confirms a changed host; see checkHost.
func retryReason(run *api.Run, configHash, requested string, secretWritten bool) string {
	switch {
	case run.State == api.Succeeded:
		return ""
	case requested != "" && requested != run.RetryRequestedAt:
		return retryRequested
	case (run.State == api.Failed || run.State == api.Blocked) && run.ConfigHash != configHash:
		return retryConfig
	case run.State.Stalled() && secretWritten:
		return retrySecret
	}
	return ""
}

// secretWritten reconciles every cleanup that makes no progress, or is about to.
func (r *reconciler) secretWritten(name string) {
	uses := func(step config.Step) bool {
		return slices.ContainsFunc(step.Secrets, func(key contract.SecretKey) bool { return key.Name == name })
	}
	if !slices.ContainsFunc(r.Config().Steps, uses) {
		return
	}
	for _, node := range r.states.names(func(s *nodeState) bool { return s.state.Stalled() || s.state == api.Running }) {
		r.queue.Add(node)
	}
}

// secretWrittenSince reports whether a Secret of a step was written since the last run of
// this leader began. If this leader had none, it reports whether one was written since the step
// failed: perhaps no agent was the leader then.
func (r *reconciler) secretWrittenSince(c *cleanup) bool {
	ranAt := r.states.get(c.node.UID).ranAt
	return slices.ContainsFunc(c.config.Steps, func(step config.Step) bool {
		since, record := ranAt, c.record.Step(step.Name)
		switch {
		case record == nil || record.State == api.StepSkipped || record.State == api.StepSucceeded:
			return false
		case since.IsZero() && record.State == api.StepFailed && record.FinishedAt != nil:
			since = record.FinishedAt.Time
		}
		return !since.IsZero() && r.Secrets.Since(since, step.Secrets)
	})
}
