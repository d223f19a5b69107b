package controller

import (
	"context"
	"slices"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	contract "github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// awaitRetry stops a cleanup that failed or waits, unless there is a reason to retry now.
func (r *reconciler) awaitRetry(ctx context.Context, c *cleanup) result {
	r.resetForRetry(c)
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
func (r *reconciler) resetForRetry(c *cleanup) {
	var changed, retried bool
	r.states.update(c.node.UID, func(s *nodeState) {
		changed, retried = s.retry, s.retried
		s.retry = false
	})
	requested := c.node.Annotations[api.AnnotationRetryRequestedAt]
	reason := retryReason(c.record, c.config.Hash, requested, changed, !retried && r.writtenSinceFailure(c))
	if reason == "" {
		return
	}
	if reason == retrySecretWritten {
		r.states.update(c.node.UID, func(s *nodeState) { s.retried = true })
	}
	c.log.Info("retrying the cleanup", "reason", reason)
	c.record.RetryRequestedAt = requested
	c.record.Reset()
}

// Reasons to retry a cleanup now.
const (
	retryRequested     = "requested by an operator"
	retryConfig        = "the config changed"
	retrySecretChanged = "a secret of a step changed"
	retrySecretWritten = "a secret of the failed step was written since"
)

// retryReason returns why a cleanup is retried now, or "". A done cleanup is not: for it, a
// retry request is the answer to a host that came back (see checkHost).
func retryReason(run *api.Run, configHash, requested string, secretChanged, secretWritten bool) string {
	switch {
	case run.State == api.Succeeded:
		return ""
	case requested != "" && requested != run.RetryRequestedAt:
		return retryRequested
	case (run.State == api.Failed || run.State == api.Blocked) && run.ConfigHash != configHash:
		return retryConfig
	case secretChanged && run.State.Stalled():
		return retrySecretChanged
	case secretWritten && run.State == api.Failed:
		return retrySecretWritten
	}
	return ""
}

// secretChanged retries every cleanup that is stalled, or is about to be.
func (r *reconciler) secretChanged(name string) {
	if !r.usesSecret(name) {
		return
	}
	for _, node := range r.states.names(func(s *nodeState) bool {
		s.retry = s.state.Stalled() || s.state == api.Running
		return s.retry
	}) {
		r.queue.Add(node)
	}
	r.Log.Info("a secret of a step changed", "secret", name)
}

// secretWritten reconciles the cleanups that failed, perhaps before the Secret was written.
func (r *reconciler) secretWritten(name string) {
	if !r.usesSecret(name) {
		return
	}
	for _, node := range r.states.names(func(s *nodeState) bool { return s.state == api.Failed }) {
		r.queue.Add(node)
	}
}

func (r *reconciler) usesSecret(name string) bool {
	return slices.ContainsFunc(r.Config().Steps, func(step config.Step) bool {
		return slices.ContainsFunc(step.Secrets, func(key contract.SecretKey) bool { return key.Name == name })
	})
}

// writtenSinceFailure reports whether a Secret of a failed step was written after it failed.
func (r *reconciler) writtenSinceFailure(c *cleanup) bool {
	return slices.ContainsFunc(c.config.Steps, func(step config.Step) bool {
		record := c.record.Step(step.Name)
		if record == nil || record.State != api.StepFailed || record.FinishedAt == nil {
			return false
		}
		return slices.ContainsFunc(step.Secrets, func(key contract.SecretKey) bool {
			at, known := r.secretWrites.Load(key.Name)
			return known && at.(time.Time).After(record.FinishedAt.Time)
		})
	})
}
