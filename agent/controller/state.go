package controller

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// nodeState is what the controller remembers about one Node UID during one leadership. All of it can
// be lost: the next leader reads the Node and its run record again.
type nodeState struct {
	name string
	// state is the one that was published last, "" for none; began is when the cleanup
	// began. Complete: the record says that every step is done.
	state    api.State
	began    time.Time
	complete bool
	// held: the Node was shown as Blocked although its record says otherwise. It stays so until the
	// next run.
	held bool

	// active: a slot is taken, for a reconcile or for a run. cancel ends that run.
	active bool
	cancel context.CancelCauseFunc
	// queued: the Node is in the queue for a slot. waiting publishes that it waits.
	queued  bool
	waiting *report.Node

	// failures counts the consecutive runs that an error interrupted; the next run starts at retryAt. A
	// failed step does not count; it has its own retries.
	failures int
	retryAt  time.Time

	// withdrawn: a user removed a request for a cleanup.
	withdrawn bool
	// ranAt is when the newest run began that has saved its record.
	ranAt time.Time
	// unrecorded: this leader saw the Node before its deletion, and the Node had no cleanup. So
	// there is a run record only if another leader or a person created it.
	unrecorded bool
	// released: this agent has removed our finalizer.
	released bool
	// settled: everything about a Node without our finalizer is published.
	settled bool
	// sinceDeletion returns how long the Node has been terminating, at least.
	sinceDeletion func() time.Duration
	// late: the Event about the deadline is published.
	late bool
	// deleted: the Node is deleted. The state is dropped when its run has ended.
	deleted bool
}

// backOff delays the next run, longer each time.
func (s *nodeState) backOff(now time.Time) {
	s.retryAt = now.Add(min(firstRetry<<min(s.failures, 20), lastRetry))
	s.failures++
}

// states holds the state of every Node that has one, by UID, and the slots for runs.
type states struct {
	mutex  sync.Mutex
	byUID  map[types.UID]*nodeState
	active int
	// queue lists the Nodes that wait for a slot, first come, first served. A Node stays in it until
	// it has taken its slot or needs none any more.
	queue []types.UID
	runs  sync.WaitGroup
}

func newStates() *states { return &states{byUID: map[types.UID]*nodeState{}} }

// track creates the state of the Node if it has none. It returns false, and keeps no state, if exists
// reports that the Node was deleted.
func (s *states) track(node *nodecache.Node, exists func() bool) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	state, known := s.byUID[node.UID]
	if !known {
		state = &nodeState{name: node.Name}
		s.byUID[node.UID] = state
	}
	state.deleted = !exists()
	s.drop(node.UID, state)
	return !state.deleted
}

// get returns a copy of the Node's state, empty if there is none.
func (s *states) get(uid types.UID) nodeState {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if state, known := s.byUID[uid]; known {
		return *state
	}
	return nodeState{}
}

// update changes the Node's state, if there is one: a Node that was deleted gets none.
func (s *states) update(uid types.UID, change func(*nodeState)) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if state, known := s.byUID[uid]; known {
		change(state)
	}
}

// forget drops the state of a deleted Node, and ends its run first.
func (s *states) forget(uid types.UID) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if state, known := s.byUID[uid]; known {
		state.deleted = true
		state.interrupt(errNodeDeleted)
		s.drop(uid, state)
	}
}

// drop is the one place where a state is removed.
func (s *states) drop(uid types.UID, state *nodeState) {
	if state.deleted && !state.active {
		s.dequeue(uid)
		delete(s.byUID, uid)
	}
}

// names returns the names of the Nodes for which include returns true.
func (s *states) names(include func(*nodeState) bool) []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var names []string
	for _, state := range s.byUID {
		if include(state) {
			names = append(names, state.name)
		}
	}
	return names
}

// acquire puts the Node at the end of the queue, unless it is in the queue already. If one of
// the free slots is for this Node, acquire takes that slot.
func (s *states) acquire(limit int, uid types.UID) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	state, known := s.byUID[uid]
	if !known {
		return false
	}
	if !state.queued {
		state.queued = true
		s.queue = append(s.queue, uid)
	}
	if !slices.Contains(s.first(limit), uid) {
		return false
	}
	s.dequeue(uid)
	s.active++
	state.active, state.waiting = true, nil
	return true
}

// first returns the Nodes of the queue for which a slot is free.
func (s *states) first(limit int) []types.UID {
	return s.queue[:max(0, min(limit-s.active, len(s.queue)))]
}

// leave removes the Node from the queue: a Node that does not ask for a slot any more must not
// block those behind it.
func (s *states) leave(uid types.UID) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.dequeue(uid)
}

func (s *states) dequeue(uid types.UID) {
	if state, known := s.byUID[uid]; known && state.queued {
		state.queued = false
		place := slices.Index(s.queue, uid)
		s.queue = slices.Delete(s.queue, place, place+1)
	}
}

// release returns the Node's slot.
func (s *states) release(uid types.UID) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	state := s.byUID[uid] // It stays while it is active.
	s.active--
	state.active, state.cancel = false, nil
	s.drop(uid, state)
}

// next returns the names of the Nodes for which a slot is free. They stay in the queue until
// they acquire it. Call next after every reconcile.
func (s *states) next(limit int) []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var names []string
	for _, uid := range s.first(limit) {
		names = append(names, s.byUID[uid].name)
	}
	return names
}

// start calls run in a goroutine, with a context that interrupt cancels. The Node has a slot,
// which is returned when run has ended; then ended is called.
func (s *states) start(ctx context.Context, uid types.UID, run func(context.Context), ended func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	s.byUID[uid].cancel = cancel
	s.runs.Go(func() {
		defer cancel(nil)
		run(ctx)
		s.release(uid)
		ended()
	})
}

// interrupt cancels the Node's run, if there is one.
func (s *nodeState) interrupt(cause error) {
	if s.cancel != nil {
		s.cancel(cause)
	}
}

// counts returns how many slots are taken, and how many Nodes wait for one.
func (s *states) counts() (taken, waiting int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.active, len(s.queue)
}
