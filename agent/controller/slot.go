package controller

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// awaitSlot limits the number of concurrent cleanups. A Node without a slot does not read its record. A
// Node that runs no step needs no slot.
func (r *reconciler) awaitSlot(ctx context.Context, c *cleanup) result {
	limit := c.config.Concurrency.Nodes
	if c.cached.DeletionTimestamp == nil && c.cached.Annotations[api.AnnotationCleanupRequestedAt] == "" ||
		c.cached.DeletionTimestamp != nil && (r.bypassed(c) || r.deadlineReleases(c) || r.states.get(c.cached.UID).complete) {
		limit = math.MaxInt
	}
	c.slot = r.states.acquire(limit, c.cached.UID)
	c.queued = !c.slot
	if c.queued {
		return r.publishPending(ctx, c)
	}
	return next
}

// pendingAfter is how long a Node waits for a slot before its condition says so.
const pendingAfter = 2 * time.Minute

// publishPending publishes that a terminating Node has waited for a slot for a long time, unless its
// condition already has the state of its cleanup.
func (r *reconciler) publishPending(ctx context.Context, c *cleanup) result {
	if c.cached.DeletionTimestamp == nil {
		return stop
	}
	untilDeadline := r.publishDeadline(c)
	state := r.states.get(c.cached.UID)
	if state.state != "" {
		return stopFor(untilDeadline)
	}
	message := fmt.Sprintf("waiting for a slot: at most %s at the same time (concurrency.nodes)", api.Count(c.config.Concurrency.Nodes, "cleanup"))
	if state.late {
		message += ", and the deadline has passed"
	} else if pending := pendingAfter - r.Clock.Since(c.cached.DeletionTimestamp.Time); pending > 0 {
		return stopFor(sooner(pending, untilDeadline))
	}
	// Reuse the publisher, because it knows the condition: another write of the same condition would
	// reconcile the Node again.
	if c.report = state.waiting; c.report == nil {
		c.report = r.Reporter.ForMetadata(c.cached)
		r.states.update(c.cached.UID, func(s *nodeState) { s.waiting = c.report })
	}
	return result{stop: true, after: untilDeadline, err: c.report.State(ctx, api.Pending, message)}
}

// sooner returns the shorter of two times, of which 0 means none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
