package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/pruner"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// Causes that end a run.
var (
	errNodeDeleted = errors.New("the node was deleted, or our finalizer was removed")
	errBypassed    = errors.New("an operator bypassed the cleanup")
	errDeadline    = errors.New("the cleanup exceeded its deadline")
	errWithdrawn   = errors.New("the request for this cleanup was withdrawn")
)

// startRun starts the phases of the run in a goroutine, which takes over the slot. Its end
// reconciles the Node again.
func (r *reconciler) startRun(ctx context.Context, c *cleanup) result {
	c.slot = false
	run := *c
	run.began = r.Clock.Now()
	r.states.update(c.node.UID, func(s *nodeState) { s.held = false })
	r.states.start(ctx, c.node.UID, func(runs context.Context) { r.execute(runs, ctx, &run) }, func() {
		r.queue.Add(run.node.Name)
		r.wakeNext()
	})
	return stopFor(r.orDeadline(c, 0))
}

// buildPlan builds the Node's plan and sets the record's steps to it. Whatever the record
// says, a step counts only if it is in this plan, and each step of this plan must be done
// before the Node is released. A plugin that panics is an error of this Node, not the end
// of the agent.
func (r *reconciler) buildPlan(ctx context.Context, c *cleanup) (done result) {
	defer func() {
		if reason := recover(); reason != nil {
			done = failed(fmt.Errorf("building the plan: a plugin panicked while deciding whether it applies to the node: %v", reason))
		}
	}()
	isNew := c.record.PlanHash == ""
	c.plan = plan.Build(c.config.Steps, c.node, plan.Applied(c.record, c.config.Hash)...)
	c.plan.Record(c.record, c.config.Hash, c.config.DryRun)
	if done := r.comparePlan(ctx, c); done.stop {
		return done
	}
	c.report.Buffer(ctx, c.logUnpublished)
	if isNew {
		c.report.Publish(nodeevent.CleanupStarted(c.record))
		c.log.Info("cleanup started", "plan", c.plan.StepsHash, "dryRun", c.config.DryRun)
	}
	return next
}

// runSteps runs the steps that are not done. It ends the run unless every step of a
// terminating Node is done.
func (r *reconciler) runSteps(ctx context.Context, c *cleanup) result {
	engine := r.Executor
	if c.config.DryRun {
		engine = r.Previewer
	}
	outcome, err := engine.Run(ctx, executor.Job{
		Plan:        c.plan,
		Record:      c.record,
		Node:        c.node,
		Parallel:    c.config.Concurrency.StepsPerNode,
		Save:        func(ctx context.Context) error { return r.save(ctx, c) },
		Retriable:   api.Retriable,
		MayContinue: func() error { return r.mayContinue(c.record) },
		Observer:    c.report,
		Log:         c.log,
	})
	switch {
	case err != nil:
		return failed(err)
	case outcome.State == api.Waiting:
		c.log.Warn("cleanup waits", "until", outcome.RetryAt, "reason", outcome.Message)
	case outcome.State == api.Failed:
		c.log.Error("cleanup failed, the node stays", "reason", outcome.Message)
		c.report.Publish(nodeevent.CleanupFailed(c.node.Name, outcome.Message))
	case outcome.State != api.Succeeded:
		return failed(fmt.Errorf("running the steps: unexpected final state %q", outcome.State))
	case c.terminating():
		return next
	default:
		c.log.Info("cleanup on request done")
		c.report.Publish(nodeevent.CleanupReady(c.record))
	}
	return stop
}

// mayContinue returns an error if a run must not have a side effect now.
func (r *reconciler) mayContinue(run *api.Run) error {
	if err := r.Fence(); err != nil {
		return err
	}
	switch node := r.nodes.Get(run.Node); {
	case node == nil || node.UID != run.NodeUID:
		return errNodeDeleted
	case node.DeletionTimestamp == nil && !run.RequestStands(node):
		return errWithdrawn
	case node.DeletionTimestamp != nil && !api.HasFinalizer(node):
		return errNodeDeleted
	}
	return nil
}

// finalWrites limits how long an interrupted run tries to publish the cause, which may be the API
// server.
const finalWrites = 5 * time.Second

// onInterrupted handles the error that ended a run. The record stays as it was saved last,
// except for a deleted Node, which nobody reconciles again.
func (r *reconciler) onInterrupted(ctx context.Context, c *cleanup, err error) {
	requested := ctx.Err() != nil || errors.Is(err, errWithdrawn)
	if r.Fence() != nil {
		c.report.Discard(false) // The next leader publishes the state.
		return
	}
	c.log.Warn("cleanup interrupted", "err", err)
	if apierrors.IsAlreadyExists(err) {
		c.report.Discard(false) // The next reconcile reads the record that another run has published.
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalWrites)
	defer cancel()
	switch {
	case errors.Is(err, errNodeDeleted):
		r.recordNodeDeleted(ctx, c)
	case requested:
		c.logUnpublished(c.report.Flush(ctx))
	case r.publishInvalid(c.node, err):
		r.states.update(c.node.UID, func(s *nodeState) { s.retryAt = r.Clock.Now().Add(invalidRetry) })
	default:
		r.backOff(ctx, c, err)
	}
}

// recordNodeDeleted records the end of a run whose Node was deleted by another client.
func (r *reconciler) recordNodeDeleted(ctx context.Context, c *cleanup) {
	c.report.Discard(false)
	if r.states.get(c.node.UID).released {
		return
	}
	err := r.closeRecord(ctx, c)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		// Another client has written the record, such as the CLI that released the Node by a bypass.
		var current *api.Run
		if current, c.stored, err = r.Records.Load(ctx, c.node.Name, c.node.UID); err == nil {
			if current == nil || current.FinishedAt != nil {
				return
			}
			c.record = current
			err = r.closeRecord(ctx, c)
		}
	}
	if err != nil {
		c.log.Error("the end of the cleanup cannot be recorded", "err", err)
	}
	if r.nodes.Has(c.node) {
		r.publish(ctx, c) // Other finalizers hold it.
	}
}

// closeRecord records that the Node was removed before its cleanup was done.
func (r *reconciler) closeRecord(ctx context.Context, c *cleanup) error {
	now := metav1.NewTime(r.Clock.Now())
	c.record.State, c.record.FinishedAt, c.record.Message = api.Failed, &now, pruner.NodeRemoved
	return c.stored.Save(ctx, c.record)
}

// backOff delays the next run. It publishes the error only from the second one on: most errors do
// not come twice.
func (r *reconciler) backOff(ctx context.Context, c *cleanup, err error) {
	failures := 0
	r.states.update(c.node.UID, func(s *nodeState) {
		s.backOff(r.Clock.Now())
		failures = s.failures
	})
	publish := c.report.Flush
	if failures > 1 {
		r.states.update(c.node.UID, (*nodeState).hold)
		message := fmt.Sprintf("cleanup interrupted, retrying: %v", err)
		publish = func(ctx context.Context) error { return c.report.State(ctx, api.Blocked, message) }
	}
	c.logUnpublished(publish(ctx))
}
