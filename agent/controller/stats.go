package controller

import (
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Stats counts Nodes and cleanups, as the leader sees them.
type Stats struct {
	// WithFinalizer counts Nodes that have our finalizer, Unprotected those that the
	// config selects and that lack it and do not terminate.
	WithFinalizer, Unprotected int
	// Active counts the runs in progress.
	Active int
	// Queued counts Nodes that wait for a reconcile.
	Queued int
	// Unfinished counts cleanups that are not done, by state.
	Unfinished map[api.State]int
	// Oldest is when the oldest of them began, zero if there is none.
	Oldest time.Time
}

func (r *reconciler) stats() Stats {
	stats := Stats{Active: r.states.running(), Queued: r.queue.Len(), Unfinished: map[api.State]int{}}
	for _, object := range r.nodes.GetStore().List() {
		node := object.(*nodeMeta)
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
func (s nodeState) summary(node *nodeMeta) (api.State, time.Time) {
	if s.state != "" {
		return s.state, s.began
	}
	if node.DeletionTimestamp != nil {
		return api.Pending, node.DeletionTimestamp.Time
	}
	return api.Pending, time.Time{}
}

// note keeps for metrics what a record says.
func (r *reconciler) note(run *api.Run) {
	r.states.update(run.NodeUID, func(s *nodeState) {
		s.state, s.began, s.complete = run.State, run.StartedAt.Time, run.State == api.Succeeded && run.DeletionRequestedAt != nil
	})
}

// block notes that the cleanup cannot go on, whatever its record says.
func (s *nodeState) block(began time.Time) {
	if s.state == "" {
		s.began = began
	}
	s.state = api.Blocked
}
