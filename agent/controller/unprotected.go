package controller

import (
	"context"
	"errors"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runstore"
)

// onFinalizerRemoved handles a terminating Node without our finalizer, once: this
// controller released it and another finalizer holds it, or it was never protected, or
// somebody removed the finalizer too early.
func (r *reconciler) onFinalizerRemoved(ctx context.Context, c *cleanup) result {
	if !r.states.track(c.cached, func() bool { return r.exists(c.cached) }) {
		return stop()
	}
	r.states.update(c.cached.UID, func(s *nodeState) { s.interrupt(errNodeGone) })
	state := r.states.get(c.cached.UID)
	switch {
	case state.settled || !r.selected(c.cached):
		return stop()
	case state.released: // A bypass may have released it although the record could not be written.
		r.settle(c)
		c.log.Info("node released, other finalizers remain", "finalizers", c.cached.Finalizers)
		return stop()
	}
	record, _, err := r.Records.Load(ctx, c.cached.Name, c.cached.UID)
	var unreadable *runstore.UnreadableError
	switch {
	case errors.As(err, &unreadable):
		r.settle(c)
		c.log.Error("the node has lost our finalizer, and its run record cannot be decoded: whether its cleanup was done is unknown", "err", err)
		return stop()
	case err != nil:
		return failed(err)
	}
	r.settle(c)
	switch {
	case record == nil:
		c.log.Warn("node was deleted before it had our finalizer: no cleanup")
		r.Metrics.NodeUnprotected()
		r.Reporter.ForMetadata(c.cached).Publish(report.NodeUnprotected())
	case !record.State.Released():
		c.log.Warn("somebody removed our finalizer before the cleanup was done")
		r.Metrics.NodeUnprotected()
		r.Reporter.ForMetadata(c.cached).Publish(report.FinalizerLost())
	default:
		c.log.Info("node released, other finalizers remain", "finalizers", c.cached.Finalizers)
	}
	return stop()
}

// settle notes that nothing is left to publish about the Node.
func (r *reconciler) settle(c *cleanup) {
	r.states.update(c.cached.UID, func(s *nodeState) { s.settled = true })
}
