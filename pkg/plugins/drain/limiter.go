package drain

import (
	"context"
	"slices"
	"sync"
)

// Limiter bounds the eviction requests that are in flight at the same time, over all Nodes. A slot
// is held during one request and never during a wait, so blocked Pods occupy no slot. Slots rotate
// between Nodes: a Node with many evictions does not delay the others.
//
// A nil Limiter has no limit.
type Limiter struct {
	mutex    sync.Mutex
	limit    int
	inFlight int
	// queues are the queues of the waiting Nodes, in order of service. None is empty.
	queues []*queue
	// disruptions has its own lock.
	disruptions disruptions
}

// queue are the evictions of one Node that wait for a slot, the oldest first. A slot is
// granted by closing the channel.
type queue struct {
	node    string
	waiting []chan struct{}
}

// NewLimiter returns a limiter of that many requests, at least 1.
func NewLimiter(limit int) *Limiter { return &Limiter{limit: max(limit, 1)} }

// SetLimit changes the limit, at least 1. Requests in flight are not cancelled, so after a
// decrease there can be more of them for a moment.
func (l *Limiter) SetLimit(limit int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.limit = max(limit, 1)
	l.grant()
}

// acquire waits for a slot for one request about a Pod of the node. The caller calls
// release after the request. The error is the cause of ctx.
func (l *Limiter) acquire(ctx context.Context, node string) (release func(), err error) {
	if l == nil {
		return func() {}, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	slot := l.enqueue(node)
	select {
	case <-slot:
		return l.release, nil
	case <-ctx.Done():
		if !l.abandon(node, slot) {
			l.release() // The slot was granted at the same moment.
		}
		return nil, context.Cause(ctx)
	}
}

func (l *Limiter) enqueue(node string) (slot chan struct{}) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	slot = make(chan struct{})
	i := slices.IndexFunc(l.queues, func(q *queue) bool { return q.node == node })
	if i < 0 {
		l.queues, i = append(l.queues, &queue{node: node}), len(l.queues)
	}
	l.queues[i].waiting = append(l.queues[i].waiting, slot)
	l.grant()
	return slot
}

func (l *Limiter) release() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.inFlight--
	l.grant()
}

// abandon takes a waiting eviction out of its queue, and reports false if it has a slot.
func (l *Limiter) abandon(node string, slot chan struct{}) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	i := slices.IndexFunc(l.queues, func(q *queue) bool { return q.node == node })
	if i < 0 {
		return false
	}
	at := slices.Index(l.queues[i].waiting, slot)
	if at < 0 {
		return false
	}
	l.queues[i].waiting = slices.Delete(l.queues[i].waiting, at, at+1)
	if len(l.queues[i].waiting) == 0 {
		l.queues = slices.Delete(l.queues, i, i+1)
	}
	return true
}

// grant assigns free slots to the Nodes in turn. The caller holds the mutex.
func (l *Limiter) grant() {
	for l.inFlight < l.limit && len(l.queues) > 0 {
		next := l.queues[0]
		l.queues = slices.Delete(l.queues, 0, 1)
		l.inFlight++
		close(next.waiting[0])
		if next.waiting = next.waiting[1:]; len(next.waiting) > 0 {
			l.queues = append(l.queues, next)
		}
	}
}
