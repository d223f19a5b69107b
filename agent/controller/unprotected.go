package controller

import (
	"context"
	"errors"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/runstore"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// onTerminatingWithoutFinalizer handles a terminating Node without our finalizer, once. Either it was
// released and another finalizer holds it, or it was never protected, or another client removed our
// finalizer too early.
func (r *reconciler) onTerminatingWithoutFinalizer(ctx context.Context, c *cleanup) result {
	if !r.states.track(c.cached, func() bool { return r.nodes.Has(c.cached) }) {
		return stop
	}
	r.states.update(c.cached.UID, func(s *nodeState) { s.interrupt(errNodeDeleted) })
	state := r.states.get(c.cached.UID)
	if state.settled || !r.selected(c.cached) {
		return stop
	}
	// The agent may have released it through a bypass without writing the record.
	record, err := &api.Run{State: api.Bypassed}, error(nil)
	if !state.released {
		if record, _, err = r.Records.Load(ctx, c.cached.Name, c.cached.UID); err != nil && !errors.As(err, &runstore.UndecodableError{}) {
			return failed(err)
		}
	}
	r.states.update(c.cached.UID, func(s *nodeState) { s.settled = true })
	switch {
	case err != nil:
		c.log.Error("the node has lost our finalizer, and its run record cannot be decoded: it is not known whether its cleanup was completed", "err", err)
	case record == nil:
		c.log.Warn("node was deleted before it had our finalizer: no cleanup")
		r.publishUnprotected(c, nodeevent.NodeUnprotected())
	case !record.State.Released():
		c.log.Warn("another client removed our finalizer before the cleanup was done")
		r.publishUnprotected(c, nodeevent.FinalizerLost())
	default:
		c.log.Info("node released, other finalizers remain", "finalizers", c.cached.Finalizers)
		if !state.released { // The CLI, or an agent that stopped before publishing, released the Node.
			node, err := r.readNode(ctx, c, "")
			if err != nil || node == nil {
				return failed(err)
			}
			c.logUnpublished(r.Reporter.ForNode(node).Run(ctx, record))
		}
	}
	return stop
}

// publishUnprotected publishes that a Node is deleted without its cleanup.
func (r *reconciler) publishUnprotected(c *cleanup, event nodeevent.Event) {
	r.Metrics.NodeUnprotected()
	r.Reporter.ForMetadata(c.cached).Publish(event)
	r.Notifications.Unprotected(c.cached, event.Message)
}
