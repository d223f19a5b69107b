package watcher

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// pauses keep runs that cannot go on from beginning again at once: the record cannot be
// written, or the Node not be cordoned. That is no failed step, which has its own retries.
type pauses struct {
	mutex sync.Mutex
	nodes map[types.UID]pause
}

type pause struct {
	times int
	until time.Time
}

// add begins a pause of a Node, twice as long as the one before, and returns how many there
// were in a row.
func (p *pauses) add(uid types.UID, now time.Time) (times int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.nodes == nil {
		p.nodes = map[types.UID]pause{}
	}
	last := p.nodes[uid]
	p.nodes[uid] = pause{last.times + 1, now.Add(min(lastRetry, firstRetry<<min(last.times, 10)))}
	return last.times + 1
}

// left returns how long the pause of a Node lasts still, 0 or less where there is none.
func (p *pauses) left(uid types.UID, now time.Time) time.Duration {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	known, paused := p.nodes[uid]
	if !paused {
		return 0
	}
	return known.until.Sub(now)
}

func (p *pauses) forget(uid types.UID) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.nodes, uid)
}
