package controller

import (
	"context"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// superviseRun leaves a Node alone while its run is in progress, and ends the run if the
// Node is bypassed or its deadline releases it. The end of a run reconciles the Node again.
func (r *reconciler) superviseRun(_ context.Context, c *cleanup) result {
	if !r.states.track(c.cached, func() bool { return r.nodes.Has(c.cached) }) {
		return stop
	}
	state := r.states.get(c.cached.UID)
	switch {
	case state.released:
		return stop // The informer will deliver this.
	case !state.active:
		return next
	case c.cached.DeletionTimestamp == nil:
		return stop
	case r.bypassed(c):
		r.states.update(c.cached.UID, func(s *nodeState) { s.interrupt(errBypassed) })
	case r.deadlineReleases(c):
		r.states.update(c.cached.UID, func(s *nodeState) { s.interrupt(errDeadline) })
	}
	return stopFor(r.publishDeadline(c))
}

// bypassed reports whether the Node has an active bypass.
func (r *reconciler) bypassed(c *cleanup) bool {
	bypass, err := api.BypassOf(c.cached, r.Clock.Now())
	return err == nil && bypass.Active
}
