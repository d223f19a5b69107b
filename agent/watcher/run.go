package watcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// run runs the plan as far as it goes now. It owns the cleanup until it returns,
// and reports whether the Node may be released at once.
func (c *cleanup) run(ctx context.Context) (release bool) {
	isNew := c.record.PlanHash == ""
	built, err := c.plan()
	if err != nil {
		c.interrupted(ctx, err)
		return false
	}
	runrecord.Merge(c.record, c.config.Hash, c.config.DryRun, built)
	c.report.HoldBack(ctx, c.notTold)
	if isNew {
		c.report.CleanupStarted(c.record)
		c.log.Info("cleanup started", "plan", built.Hash, "dryRun", c.config.DryRun)
	}
	if begin, err := c.prepare(ctx, built); err != nil || !begin {
		if err != nil {
			c.interrupted(ctx, err)
		} else {
			c.pauses.forget(c.node.UID)
		}
		return false
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
		Passing:  api.Unanswered,
		Guard:    func(context.Context) error { return c.guard(c.record) },
		Observer: observer{c.report, c.Metrics},
		Log:      c.log,
	})
	if err == nil {
		c.pauses.forget(c.node.UID)
	}
	switch {
	case err != nil:
		c.interrupted(ctx, err)
	case outcome.State == api.Waiting:
		c.log.Warn("cleanup waits", "until", outcome.RetryAt, "why", outcome.Message)
	case outcome.State == api.Failed:
		c.log.Error("cleanup failed, the node stays", "why", outcome.Message)
		c.report.CleanupFailed(outcome.Message)
	case outcome.State != api.Succeeded:
		c.log.Error("the cleanup ended in a state that is none", "state", outcome.State)
	case c.node.DeletionTimestamp == nil:
		c.log.Info("cleanup on request done")
		c.report.CleanupReady(c.record)
	default:
		return c.unchanged() && !c.record.Host.Changed(api.HostOf(c.node))
	}
	return false
}

// plan returns the plan of the Node. A plugin that panics when it is asked whether it
// applies is an error of this Node, not the end of the agent.
func (c *cleanup) plan() (built plan.Plan, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("making the plan: a plugin panicked when it was asked whether it applies to the node: %v", reason)
		}
	}()
	return plan.Build(c.config.Steps, c.node, c.applied()...), nil
}

// applied returns the names of the steps that applied to a terminating Node before, by
// this config: who may write its labels, as its kubelet may, takes no step out of a
// deletion that has begun.
func (c *cleanup) applied() []string {
	if c.record.DeletionRequestedAt == nil || c.record.ConfigHash != c.config.Hash {
		return nil
	}
	var names []string
	for _, step := range c.record.Steps {
		if step.State != api.StepSkipped {
			names = append(names, step.Name)
		}
	}
	return names
}

// unchanged reports whether nobody is known to have written the Node since it was
// read: then it may be released without looking at it again.
func (c *cleanup) unchanged() bool {
	now := c.term.node(c.node.Name)
	return now != nil && now.ResourceVersion == c.node.ResourceVersion
}

// prepare does what comes before the first step, and reports whether to begin.
func (c *cleanup) prepare(ctx context.Context, built plan.Plan) (bool, error) {
	if begin, err := c.preflight(ctx, built); err != nil || !begin {
		return false, err
	}
	return true, c.cordon(ctx)
}

// save stores the record, then shows people the same.
func (c *cleanup) save(ctx context.Context, record *api.Run) error {
	onRequest := c.node.DeletionTimestamp == nil
	record.DeadlinePassed = record.DeadlinePassed || c.isLate(c.node)
	if onRequest && record.State == api.Succeeded {
		record.Message = readyMessage
		if record.DryRun {
			record.Message = dryRunMessage
		}
	}
	if err := c.stored.Save(ctx, record); err != nil {
		return err
	}
	c.show(ctx, record)
	return nil
}

// show has people and metrics see what was stored.
func (c *cleanup) show(ctx context.Context, record *api.Run) {
	c.standing.note(record)
	onRequest := c.node.DeletionTimestamp == nil
	if record.State.Released() && !onRequest && len(api.OtherFinalizers(c.node)) == 0 {
		if c.crowded() {
			c.report.Drop()
		} else {
			c.report.TellEvents()
		}
		return
	}
	if err := c.report.Run(ctx, record); err != nil {
		c.notTold(err)
	}
}

// crowd is how many cleanups at once make each keep its Events to the one at its end: of a
// thousand nodes that go, nobody reads every step, and each Event is a write.
const crowd = 10

// crowded reports whether so many go on, or are about to.
func (t *term) crowded() bool { return t.runs.begunOrWaiting()+t.queue.Len() >= crowd }

func (c *cleanup) notTold(err error) {
	c.log.Warn("the node's condition cannot be written, the cleanup goes on", "err", err)
}

// lastWords is how long an interrupted run tries to say so: the API server may be
// what interrupted it.
const lastWords = 5 * time.Second

// interrupted says why a run stopped in the middle. The record stays as it was
// last saved; only for a Node that is gone nobody comes back to it.
func (c *cleanup) interrupted(ctx context.Context, err error) {
	c.log.Warn("cleanup interrupted", "err", err)
	wanted := ctx.Err() != nil || errors.Is(err, errWithdrawn)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	switch {
	case c.Fence() != nil:
		c.report.Drop() // It is for the next leader to say how things are.
		return
	case !wanted && !errors.Is(err, errNodeGone):
		c.fails(ctx, err)
		return
	case !errors.Is(err, errNodeGone):
		if err := c.report.Speak(ctx); err != nil {
			c.notTold(err)
		}
		return
	}
	c.report.Drop()
	now := metav1.NewTime(c.Clock.Now())
	c.record.State, c.record.FinishedAt = api.Failed, &now
	c.record.Message = "the node was removed by somebody else before its cleanup was done"
	if err := c.stored.Save(ctx, c.record); err != nil && !apierrors.IsConflict(err) {
		c.log.Error("the end of the cleanup cannot be recorded", "err", err)
	}
	if now := c.term.node(c.node.Name); now != nil && now.UID == c.node.UID {
		c.show(ctx, c.record) // Others hold it still.
	}
}

// fails has the run begin again after a pause, longer each time, and says why from the
// second time on: what is over a moment later is no news.
func (c *cleanup) fails(ctx context.Context, err error) {
	times := c.pauses.add(c.node.UID, c.Clock.Now())
	tell := c.report.Speak
	if times > 1 {
		c.standing.held(c.record)
		message := fmt.Sprintf("the cleanup cannot go on, trying again: %v", err)
		tell = func(ctx context.Context) error { return c.report.State(ctx, api.Blocked, message) }
	}
	if err := tell(ctx); err != nil {
		c.notTold(err)
	}
}

// observer shows what a run does as Events and as metrics.
type observer struct {
	*runrecord.NodeReporter
	metrics Metrics
}

func (o observer) StepStarted(step *api.StepRun) {
	o.NodeReporter.StepStarted(step)
	if step.Attempts > 1 {
		o.metrics.Retried(step.Plugin)
	}
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
