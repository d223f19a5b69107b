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
}

func (s *standings) note(run *api.Run) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.states == nil {
		s.states = map[types.UID]standingRun{}
	}
	s.states[run.NodeUID] = standingRun{run.State, run.StartedAt.Time}
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
	return standingRun{api.Pending, began}
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
