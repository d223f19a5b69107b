package controller

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runstore"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// reconcile runs the phases of one Node. It returns the delay before the next reconcile; 0 means
// when something changes.
func (r *reconciler) reconcile(ctx context.Context, name string) (time.Duration, error) {
	node := r.nodes.Get(name)
	if node == nil {
		return 0, nil
	}
	var phases []phase
	switch requested := r.requested(node); {
	case node.DeletionTimestamp == nil && !requested:
		phases = []phase{r.ensureFinalizer}
	case node.DeletionTimestamp == nil:
		phases = []phase{r.superviseRun, r.ensureFinalizer, r.awaitSlot, r.load, r.onRequest, r.awaitBrake, r.awaitRetry, r.startRun}
	case !api.HasFinalizer(node):
		phases = []phase{r.onTerminatingWithoutFinalizer}
	default:
		phases = []phase{r.superviseRun, r.awaitSlot, r.load, r.adoptRecord, r.onBypass, r.onDeadline, r.awaitBrake, r.awaitRetry, r.startRun}
	}
	c := &cleanup{cached: node, config: r.Config(), log: r.Log.With("node", name, "uid", node.UID)}
	defer r.returnSlot(c)
	return r.conclude(ctx, c, inOrder(ctx, c, phases))
}

// execute runs the phases of a run in their own goroutine. The release uses leaderCtx: removing the
// finalizer deletes the Node, and the informer then cancels runCtx before the patch returns.
func (r *reconciler) execute(runCtx, leaderCtx context.Context, c *cleanup) {
	done := inOrder(runCtx, c, []phase{r.buildPlan, r.preflight, r.keepCordoned, r.runSteps, r.checkHost})
	if !done.stop {
		done = r.release(leaderCtx, c)
	}
	if done.err != nil {
		r.onInterrupted(runCtx, c, done.err)
		return
	}
	r.states.update(c.node.UID, func(s *nodeState) { s.failures, s.retryAt = 0, time.Time{} })
}

// cleanup is what the phases of one reconcile, or of one run, work on.
type cleanup struct {
	cached *nodecache.Node
	config *config.Config
	log    *slog.Logger
	// slot: the Node has a slot that this reconcile returns. A run takes it over.
	slot bool
	// queued: the Node waits for a slot.
	queued bool

	// The phase load sets these.
	node   *corev1.Node
	record *api.Run
	stored *runstore.Handle
	report *report.Node

	// began is when the run began, zero in a reconcile.
	began time.Time
	// plan is set by the phase buildPlan.
	plan plan.Plan
}

func (c *cleanup) terminating() bool { return c.node.DeletionTimestamp != nil }

// phase is one part of a reconcile or of a run. It does one thing and decides whether the
// next phase follows.
type phase func(context.Context, *cleanup) result

// result is what a phase decides. The zero value means that the next phase follows.
type result struct {
	// stop: no further phase follows.
	stop bool
	// after is the time after which to reconcile the Node again; 0 means when it changes.
	after time.Duration
	// blocked is the reason to publish in the Node's condition.
	blocked string
	// err: reconcile again, with backoff.
	err error
}

var next, stop = result{}, result{stop: true}

// stopFor ends a reconcile; the next one follows after d, or when the Node changes if d is 0.
func stopFor(d time.Duration) result { return result{stop: true, after: d} }

// blocked ends a reconcile and publishes the reason. With a cause it is repeated with backoff.
func blocked(reason string, cause error) result {
	return result{stop: true, blocked: reason, err: cause}
}

// failed ends a reconcile; the next one follows with backoff. A nil err means the next phase.
func failed(err error) result { return result{stop: err != nil, err: err} }

func inOrder(ctx context.Context, c *cleanup, phases []phase) result {
	for _, phase := range phases {
		if done := phase(ctx, c); done.stop {
			return done
		}
	}
	return next
}

// conclude publishes why a reconcile is blocked, and decides when the next one follows.
func (r *reconciler) conclude(ctx context.Context, c *cleanup, done result) (time.Duration, error) {
	if r.publishInvalid(c.cached, done.err) {
		return invalidRetry, nil
	}
	if done.blocked != "" {
		c.logUnpublished(c.report.State(ctx, api.Blocked, done.blocked))
	}
	return done.after, done.err
}

// logUnpublished logs the error of a write of the Node's condition, if there is one.
func (c *cleanup) logUnpublished(err error) {
	if err != nil {
		c.log.Warn("the node's condition cannot be written, the cleanup continues", "err", err)
	}
}

// returnSlot returns the slot that no run has taken over. A Node that no longer waits for a slot
// leaves the queue.
func (r *reconciler) returnSlot(c *cleanup) {
	if c.slot {
		r.states.release(c.cached.UID)
	}
	if !c.queued {
		r.states.leave(c.cached.UID)
	}
}
