package watcher

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// inTurn brings a cleanup on as soon as there is room for a run; with regardless
// the limit does not count.
func (t *term) inTurn(ctx context.Context, cached *nodeMeta, regardless bool, next func(*cleanup) (time.Duration, error)) (time.Duration, error) {
	limit := t.Config().Concurrency.Nodes
	if regardless {
		limit = math.MaxInt
	}
	if !t.runs.reserve(limit, cached.UID, cached.Name) {
		return t.awaitTurn(ctx, cached, limit)
	}
	t.waiting.Delete(cached.UID)
	c, err := t.read(ctx, cached)
	if c == nil || err != nil {
		t.runs.end(cached.UID)
		return 0, err
	}
	again, err := next(c)
	if !c.begun {
		t.runs.end(cached.UID)
	}
	return again, err
}

// tellPending is how long a Node waits for its turn before its condition says so.
const tellPending = 2 * time.Minute

// awaitTurn says on a Node that others come before it, when that takes long and
// its condition does not tell already how its cleanup stands.
func (t *term) awaitTurn(ctx context.Context, cached *nodeMeta, limit int) (time.Duration, error) {
	if cached.DeletionTimestamp == nil {
		return 0, nil
	}
	left := t.tellLate(cached)
	if _, known := t.standing.known(cached.UID); known {
		return left, nil
	}
	message := fmt.Sprintf("waiting for a turn: %d cleanups run already", limit)
	if t.isLate(cached) {
		message += ", and the deadline has passed"
	} else if pending := tellPending - t.Clock.Since(cached.DeletionTimestamp.Time); pending > 0 {
		return sooner(pending, left), nil
	}
	// The same reporter each time: it knows what the condition says. Writing it again would
	// bring the Node here again.
	reporter, _ := t.waiting.LoadOrStore(cached.UID, t.Reporter.About(cached))
	return left, reporter.(*runrecord.NodeReporter).State(ctx, api.Pending, message)
}

// sooner returns the shorter of two times, of which 0 means none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
