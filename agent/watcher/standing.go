package watcher

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// standings remember in which state each cleanup was saved last.
type standings struct {
	mutex  sync.Mutex
	states map[types.UID]standingRun
}

type standingRun struct {
	state api.State
	began time.Time
	// done: the record says that nothing holds the Node, whatever state it is in.
	done bool
}

func (s *standings) note(run *api.Run) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.states == nil {
		s.states = map[types.UID]standingRun{}
	}
	s.states[run.NodeUID] = standingRun{run.State, run.StartedAt.Time, run.State.Released() && run.DeletionRequestedAt != nil}
}

// held notes that a Node stays although its record says that it may go.
func (s *standings) held(run *api.Run) {
	s.note(run)
	s.blocked(run.NodeUID, run.StartedAt.Time)
}

// blocked notes that the cleanup of a Node cannot go on, whatever its record says. Where
// nothing is known of it, it began at the time that is given.
func (s *standings) blocked(uid types.UID, began time.Time) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.states == nil {
		s.states = map[types.UID]standingRun{}
	}
	known, found := s.states[uid]
	if !found {
		known.began = began
	}
	known.state = api.Blocked
	s.states[uid] = known
}

// done reports whether nothing but its release is left to do about a Node.
func (s *standings) done(uid types.UID) bool {
	known, _ := s.known(uid)
	return known.done
}

func (s *standings) forget(uid types.UID) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.states, uid)
}

func (s *standings) known(uid types.UID) (standingRun, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	known, found := s.states[uid]
	return known, found
}

// of returns the state of a cleanup, Pending when none was saved yet.
func (s *standings) of(node *nodeMeta) standingRun {
	if known, found := s.known(node.UID); found {
		return known
	}
	began := time.Time{}
	if node.DeletionTimestamp != nil {
		began = node.DeletionTimestamp.Time
	}
	return standingRun{state: api.Pending, began: began}
}

// stand counts the Nodes and their cleanups.
func (t *term) stand() Standing {
	standing := Standing{Active: t.runs.count(), Queued: t.queue.Len(), Unfinished: map[api.State]int{}}
	for _, object := range t.nodes.GetStore().List() {
		node := object.(*nodeMeta)
		switch {
		case api.HasFinalizer(node):
			standing.WithFinalizer++
		case t.selected(node) && node.DeletionTimestamp == nil:
			// One that is being deleted cannot get it any more, and may have been released.
			standing.Unprotected++
		}
		if node.DeletionTimestamp == nil && node.Annotations[api.AnnotationCleanupRequestedAt] == "" || !api.HasFinalizer(node) {
			continue
		}
		run := t.standing.of(node)
		if run.state.Released() || run.state == api.Canceled {
			continue
		}
		standing.Unfinished[run.state]++
		if !run.began.IsZero() && (standing.Oldest.IsZero() || run.began.Before(standing.Oldest)) {
			standing.Oldest = run.began
		}
	}
	return standing
}
