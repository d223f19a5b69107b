package runrecord

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/utils/clock"
)

// tryAgain is how long it takes until what could not be written is written again.
const tryAgain = 10 * time.Second

// keepLater gives a run a record of its own after a while, where it has none by then. The timer
// may be stopped where that is certain.
func (j *Journal) keepLater(after time.Duration, name string, handle *Handle) clock.Timer {
	return j.clock.AfterFunc(after, func() {
		if !j.works() {
			return
		}
		defer j.work.Done()
		if err := j.keep(name, handle); err != nil {
			j.mutex.Lock()
			defer j.mutex.Unlock()
			j.unkept[name] = handle
			j.sweepAfter(tryAgain)
		}
	})
}

// keep gives a run a record of its own now, where it has none.
func (j *Journal) keep(name string, handle *Handle) error {
	if !j.Holds(name) {
		return nil
	}
	// Whoever saves the same record waits for this.
	ctx, cancel := context.WithTimeout(j.ctx, patience)
	defer cancel()
	return handle.keep(ctx)
}

// sweepAfter has the runs get records of their own that have none yet.
func (j *Journal) sweepAfter(after time.Duration) {
	if j.sweeping || len(j.unkept) == 0 {
		return
	}
	j.sweeping = true
	j.clock.AfterFunc(after, func() {
		if j.works() {
			defer j.work.Done()
			j.sweep()
		}
	})
}

// sweep ends at the first that gets none: the next would not either.
func (j *Journal) sweep() {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	for _, name := range slices.Collect(maps.Keys(j.unkept)) {
		handle := j.unkept[name]
		j.mutex.Unlock()
		err := j.keep(name, handle)
		j.mutex.Lock()
		if err != nil && j.ctx.Err() == nil {
			j.log.Warn("cleanups have no records of their own yet, the journal of cleanups holds how they began",
				"cleanups", len(j.unkept), "one", name, "again", tryAgain, "err", err)
			break
		}
		if j.unkept[name] == handle {
			delete(j.unkept, name)
		}
	}
	j.sweeping = false
	j.sweepAfter(tryAgain)
}
