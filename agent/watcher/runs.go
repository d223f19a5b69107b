package watcher

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// runs are the plans that are being run, no more than config allows, and the
// Nodes whose turn comes next.
type runs struct {
	mutex   sync.Mutex
	active  map[types.UID]context.CancelCauseFunc
	waiting []string
	listed  map[string]bool // the names in waiting
	done    sync.WaitGroup
}

func newRuns() *runs {
	return &runs{active: map[types.UID]context.CancelCauseFunc{}, listed: map[string]bool{}}
}

// reserve reports whether there is room for a run for the Node UID, and keeps it
// for begin or cancel. When limit runs are at work already it notes the Node's
// name, for next to return.
func (r *runs) reserve(limit int, uid types.UID, name string) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.active) < limit {
		r.active[uid] = func(error) {}
		return true
	}
	if !r.listed[name] {
		r.listed[name] = true
		r.waiting = append(r.waiting, name)
	}
	return false
}

// begin calls work in a goroutine of its own, in the room that was reserved,
// with a context that interrupt ends. When the work is done, ended is called.
func (r *runs) begin(ctx context.Context, uid types.UID, name string, work func(context.Context), ended func(name string)) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	r.active[uid] = cancel
	r.done.Go(func() {
		defer cancel(nil)
		work(ctx)
		r.end(uid)
		ended(name)
	})
}

// end leaves the room of a run to others.
func (r *runs) end(uid types.UID) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.active, uid)
}

// next takes as many names off the waiting list as there is room for. Each is
// to be reconciled; one that does not begin a run then has left its room to the
// next, so this is asked after every reconcile.
func (r *runs) next(limit int) []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	free := min(len(r.waiting), max(0, limit-len(r.active)))
	taken := r.waiting[:free:free]
	r.waiting = r.waiting[free:]
	for _, name := range taken {
		delete(r.listed, name)
	}
	return taken
}

// running reports whether a run for the Node UID is at work, or about to be.
func (r *runs) running(uid types.UID) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	_, running := r.active[uid]
	return running
}

// interrupt ends the context of the run for the Node UID, where there is one.
func (r *runs) interrupt(uid types.UID, cause error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if cancel, running := r.active[uid]; running {
		cancel(cause)
	}
}

func (r *runs) count() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.active)
}

// begunOrWaiting counts the runs that are at work and those that wait for room.
func (r *runs) begunOrWaiting() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.active) + len(r.waiting)
}

// wait returns when no run is at work any more.
func (r *runs) wait() { r.done.Wait() }
