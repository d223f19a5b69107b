package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
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
}

// open reads what is known about the cleanup of a Node, and begins a record
// where nothing is.
func (t *term) open(ctx context.Context, node *corev1.Node) (*cleanup, error) {
	record, stored, err := t.Records.Load(ctx, node.Name, node.UID)
	if err != nil {
		report := t.Reporter.Node(node)
		return nil, errors.Join(err, report.State(ctx, api.Blocked, "the run record cannot be read, so nothing is done: "+err.Error()))
	}
	if record == nil {
		record = runrecord.Begin(node, t.Clock.Now())
	}
	return &cleanup{
		term:   t,
		config: t.Config(),
		node:   node,
		record: record,
		stored: stored,
		report: t.Reporter.Node(node),
		log:    t.Log.With("node", node.Name, "uid", node.UID),
	}, nil
}

// next takes the one step that is due: release, bypass, hold or run.
func (c *cleanup) next(ctx context.Context) (time.Duration, error) {
	if c.record.State.Released() {
		return 0, c.release(ctx)
	}
	bypass, err := api.BypassOf(c.node, c.Clock.Now())
	if err != nil {
		c.log.Warn("bypass annotation cannot be read and is not followed", "err", err)
		c.report.CleanupWaiting(err.Error())
	}
	if bypass.Active {
		return 0, c.bypass(ctx, bypass.Reason)
	}
	if released, err := c.deadline(ctx); released || err != nil {
		return 0, err
	}
	c.honourRetry()
	switch {
	case c.record.State == api.Failed:
		return c.untilDeadline(0), c.report.State(ctx, api.Failed, c.record.Message)
	case c.record.State == api.Waiting && c.retryIn() > 0:
		return c.untilDeadline(c.retryIn()), nil
	case c.record.State == api.Blocked && c.record.CheckAgainAt != nil && c.record.CheckAgainAt.After(c.Clock.Now()):
		return c.untilDeadline(c.record.CheckAgainAt.Sub(c.Clock.Now())), nil
	}
	if !c.runs.begin(ctx, c.config.Concurrency.Nodes, c.node.UID, c.node.Name, c.run, c.queue.Add) {
		return 0, c.report.State(ctx, api.Pending, fmt.Sprintf("waiting for a turn: %d cleanups run already", c.config.Concurrency.Nodes))
	}
	return 0, nil
}

// honourRetry gives a failed or waiting run a new start when somebody asked for
// it, and a failed one also when the config changed since.
func (c *cleanup) honourRetry() {
	requested := c.node.Annotations[api.AnnotationRetryRequestedAt]
	switch {
	case requested != "" && requested != c.record.RetryRequestedAt:
		c.log.Info("trying again on request", "requestedAt", requested)
	case (c.record.State == api.Failed || c.record.State == api.Blocked) && c.record.ConfigHash != c.config.Hash:
		c.log.Info("trying again with the new config", "config", c.config.Hash)
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

// run runs the plan as far as it goes now. It owns the cleanup until it returns.
func (c *cleanup) run(ctx context.Context) {
	if until := c.untilDeadline(0); until > 0 && c.config.Deadline.Action == config.Release {
		limited, cancel := context.WithTimeoutCause(ctx, until, errDeadline)
		defer cancel()
		ctx = limited
	}
	isNew := c.record.PlanHash == ""
	built := plan.Build(c.config.Steps, c.node)
	runrecord.Merge(c.record, c.config.Hash, c.config.DryRun, built)
	if isNew {
		c.report.CleanupStarted(c.record)
		c.log.Info("cleanup started", "plan", built.Hash, "dryRun", c.config.DryRun)
	}
	if begin, err := c.preflight(ctx, built); err != nil || !begin {
		if err != nil {
			c.log.Warn("preflight interrupted", "err", err)
		}
		return
	}
	engine := c.Executor
	if c.config.DryRun {
		engine = c.Previewer
	}
	outcome, err := engine.Run(ctx, executor.Job{
		Plan:     built,
		Record:   c.record,
		Node:     c.node,
		Parallel: c.config.Concurrency.StepsPerNode,
		Save:     c.save,
		Guard:    func(context.Context) error { return c.guard(c.node.Name, c.node.UID) },
		Observer: observer{c.report, c.Metrics},
		Log:      c.log,
	})
	switch {
	case err != nil:
		c.interrupted(context.WithoutCancel(ctx), err)
	case outcome.State == api.Waiting:
		c.log.Warn("cleanup waits", "until", outcome.RetryAt, "why", outcome.Message)
	case outcome.State == api.Failed:
		c.log.Error("cleanup failed, the node stays", "why", outcome.Message)
		c.report.CleanupFailed(outcome.Message)
	}
}

// save stores the record, then shows people the same.
func (c *cleanup) save(ctx context.Context, record *api.Run) error {
	if err := c.stored.Save(ctx, record); err != nil {
		return err
	}
	if record.State.Released() && len(api.OtherFinalizers(c.node)) == 0 {
		return nil // The Node is gone before anybody could read it.
	}
	if err := c.report.State(ctx, record.State, record.Message); err != nil {
		c.log.Warn("the node's condition cannot be written, the cleanup goes on", "err", err)
	}
	return nil
}

// interrupted says why a run stopped in the middle. The record stays as it was
// last saved; only for a Node that is gone nobody comes back to it.
func (c *cleanup) interrupted(ctx context.Context, err error) {
	c.log.Warn("cleanup interrupted", "err", err)
	if !errors.Is(err, errNodeGone) || c.Fence() != nil {
		return
	}
	now := metav1.NewTime(c.Clock.Now())
	c.record.State, c.record.FinishedAt = api.Failed, &now
	c.record.Message = "the node was removed by somebody else before its cleanup was done"
	if err := c.stored.Save(ctx, c.record); err != nil {
		c.log.Error("the end of the cleanup cannot be recorded", "err", err)
	}
}

// observer shows what a run does as Events and as metrics.
type observer struct {
	*runrecord.NodeReporter
	metrics Metrics
}

func (o observer) StepSucceeded(step *api.StepRun, took time.Duration) {
	o.NodeReporter.StepSucceeded(step, took)
	o.metrics.StepDone(step.Plugin, "success", took)
}

func (o observer) StepFailed(step *api.StepRun, took time.Duration) {
	o.NodeReporter.StepFailed(step, took)
	o.metrics.StepDone(step.Plugin, "error", took)
}

func (o observer) StepSkipped(step *api.StepRun) {
	o.NodeReporter.StepSkipped(step)
	o.metrics.StepDone(step.Plugin, "skipped", 0)
}
