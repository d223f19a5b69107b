package controller

import (
	"cmp"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// stats counts Nodes and cleanups, as the leader sees them.
func (r *reconciler) stats() metrics.Cleanups {
	active, _ := r.states.counts()
	stats := metrics.Cleanups{Active: active, Queued: r.queue.Len(), Unfinished: map[api.State]int{}}
	for _, node := range r.nodes.List() {
		protected := api.HasFinalizer(node)
		switch {
		case protected:
			stats.WithFinalizer++
		case r.selected(node) && node.DeletionTimestamp == nil:
			// A terminating Node accepts no finalizer, and may have been released.
			stats.Unprotected++
		}
		if !protected || node.DeletionTimestamp == nil && node.Annotations[api.AnnotationCleanupRequestedAt] == "" {
			continue
		}
		state, began := r.states.get(node.UID).summary(node)
		if state.Released() || state == api.Canceled {
			continue
		}
		stats.Unfinished[state]++
		if !began.IsZero() && (stats.Oldest.IsZero() || began.Before(stats.Oldest)) {
			stats.Oldest = began
		}
	}
	return stats
}

// summary returns the state of the cleanup and when it began; Pending since the deletion
// if there is no record yet.
func (s nodeState) summary(node *nodecache.Node) (state api.State, began time.Time) {
	state, began = cmp.Or(s.state, api.Pending), s.began
	if began.IsZero() && node.DeletionTimestamp != nil {
		began = node.DeletionTimestamp.Time
	} else if began.IsZero() {
		began, _ = time.Parse(time.RFC3339, node.Annotations[api.AnnotationCleanupRequestedAt]) // Zero if it is no time.
	}
	return state, began
}

// note keeps for metrics what a record says.
func (r *reconciler) note(run *api.Run) {
	r.states.update(run.NodeUID, func(s *nodeState) {
		s.state, s.began, s.complete = run.State, run.StartedAt.Time, run.State == api.Succeeded && run.DeletionRequestedAt != nil
		if s.held {
			s.state = api.Blocked
		}
	})
}

// hold counts the Node as Blocked until its next run, whatever its record says.
func (s *nodeState) hold() { s.state, s.held = api.Blocked, true }
