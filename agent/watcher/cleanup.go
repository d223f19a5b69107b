package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// cleanup is the cleanup of one Node, as far as one reconcile brings it.
type cleanup struct {
	*term
	config *config.Config
	node   *corev1.Node
	record *api.Run
	stored *runrecord.Handle
	report *runrecord.NodeReporter
	log    *slog.Logger
	// begun: a run has taken over, in a goroutine of its own.
	begun bool
}

// open reads what is known about the cleanup of a Node, and begins a record
// where nothing is.
func (t *term) open(ctx context.Context, node *corev1.Node) (*cleanup, error) {
	c := &cleanup{
		term:   t,
		config: t.Config(),
		node:   node,
		report: t.Reporter.Node(node),
		log:    t.Log.With("node", node.Name, "uid", node.UID),
	}
	if node.DeletionTimestamp == nil {
		t.firstHand.recorded.Store(node.UID, struct{}{}) // It is about to have one.
	}
	if t.firstHand.take(node.UID) {
		c.record, c.stored = runrecord.Begin(node, t.Clock.Now()), t.journal.None(t.crowded())
		return c, nil
	}
	var err error
	if c.record, c.stored, err = t.journal.Load(ctx, node.Name, node.UID, t.crowded()); err != nil {
		if c.stored = t.bypassesRecord(node, err); c.stored == nil {
			began := t.Clock.Now()
			if node.DeletionTimestamp != nil {
				began = node.DeletionTimestamp.Time
			}
			t.standing.blocked(node.UID, began)
			mend := "It is tried again"
			var unreadable *runrecord.UnreadableError
			if errors.As(err, &unreadable) {
				mend = "Mend or delete ConfigMap " + api.RunName(node.Name, node.UID)
			}
			return nil, errors.Join(err, c.report.State(ctx, api.Blocked, fmt.Sprintf("the run record cannot be read, so nothing is done: %v. "+
				"%s; a bypass lets the node go as it is", err, mend)))
		}
		c.log.Error("the run record cannot be read, and a bypass goes over that", "err", err)
	}
	if c.record == nil {
		c.record = runrecord.Begin(node, t.Clock.Now())
	} else {
		t.standing.note(c.record)
	}
	return c, nil
}

// bypassesRecord returns the handle by which a bypass is recorded where the record of a
// Node cannot be read, or nil where that is no bypass, or may be read a moment later.
func (t *term) bypassesRecord(node *corev1.Node, err error) *runrecord.Handle {
	if bypass, unreadable := api.BypassOf(node, t.Clock.Now()); unreadable != nil || !bypass.Active || node.DeletionTimestamp == nil {
		return nil
	}
	var unreadable *runrecord.UnreadableError
	switch {
	case errors.As(err, &unreadable):
		return unreadable.Handle
	case api.Refused(err):
		return t.Records.None()
	}
	return nil
}

// deleted takes the one step that is due for a terminating Node: release,
// bypass, hold or run.
func (c *cleanup) deleted(ctx context.Context) (time.Duration, error) {
	bypass, err := api.BypassOf(c.node, c.Clock.Now())
	if err := c.takeOver(ctx); err != nil && (!bypass.Active || !api.Refused(err)) {
		return 0, err
	}
	if err != nil {
		c.log.Warn("bypass annotation cannot be read and is not followed", "err", err)
		c.report.CleanupWaiting(err.Error())
	}
	if c.record.PlanHash == "" {
		c.recordRequester(ctx)
	}
	if bypass.Active && !c.record.State.Released() {
		return 0, c.bypass(ctx, bypass.Reason)
	}
	if c.record.State.Released() {
		if held, err := c.hostChanged(ctx, bypass.Active); held || err != nil {
			return 0, err
		}
		return 0, c.release(ctx)
	}
	if released, err := c.deadline(ctx); released || err != nil {
		return 0, err
	}
	return c.proceed(ctx)
}

// recordRequester records who deleted the Node. Nothing depends on that, so the cleanup goes on
// if it cannot be read.
func (c *cleanup) recordRequester(ctx context.Context) {
	deletion, found, err := c.Deletions.Of(ctx, c.node)
	if err != nil {
		c.log.Warn("reading who deleted the node, going on without", "err", err)
	}
	if found {
		c.record.RequestedBy, c.record.RequestedByVerified = deletion.User, deletion.Verified
	}
}

// proceed runs the plan, or says when to look again. The room for the run is
// reserved.
func (c *cleanup) proceed(ctx context.Context) (time.Duration, error) {
	c.honourRetry()
	switch {
	case c.record.State == api.Failed:
		return c.untilDeadline(0), c.report.State(ctx, api.Failed, c.record.Message)
	case c.record.State == api.Waiting && c.retryIn() > 0:
		return c.untilDeadline(c.retryIn()), nil
	case c.record.State == api.Blocked && c.record.CheckAgainAt != nil && c.record.CheckAgainAt.After(c.Clock.Now()):
		return c.untilDeadline(c.record.CheckAgainAt.Sub(c.Clock.Now())), nil
	}
	if wait := c.pauses.left(c.node.UID, c.Clock.Now()); wait > 0 {
		return c.untilDeadline(wait), nil
	}
	c.begun = true
	c.runs.begin(ctx, c.node.UID, c.node.Name, func(run context.Context) {
		if c.run(run) {
			// Not by the run's own context, which ends when the Node is gone.
			if err := c.release(ctx); err != nil {
				c.log.Warn("the node is not released yet, trying again", "err", err)
			}
		}
	}, c.queue.Add)
	return c.untilDeadline(0), nil
}

// honourRetry gives a failed or waiting run a new start when somebody asked for
// it or a secret changed, and a failed one also when the config did.
func (c *cleanup) honourRetry() {
	requested := c.node.Annotations[api.AnnotationRetryRequestedAt]
	switch {
	case requested != "" && requested != c.record.RetryRequestedAt:
		c.log.Info("trying again on request", "requestedAt", requested)
	case (c.record.State == api.Failed || c.record.State == api.Blocked) && c.record.ConfigHash != c.config.Hash:
		c.log.Info("trying again with the new config", "config", c.config.Hash)
	case c.restarts(c.node.UID) && standsStill(c.record.State), c.record.State == api.Failed && c.secretSince():
		c.log.Info("trying again with the new secret")
	default:
		return
	}
	c.record.RetryRequestedAt = requested
	runrecord.Retry(c.record)
}

// retryIn returns how long until the next attempt is due, 0 or less when one is.
func (c *cleanup) retryIn() time.Duration {
	var earliest time.Time
	for _, step := range c.record.Steps {
		if step.State == api.StepRetrying && step.NextAttemptAt != nil && (earliest.IsZero() || step.NextAttemptAt.Time.Before(earliest)) {
			earliest = step.NextAttemptAt.Time
		}
	}
	return earliest.Sub(c.Clock.Now())
}
