package guard

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// queue collects the deletions of a batch. A batch reads once and writes the ledger once for
// all of its deletions; only other replicas can interfere.
type queue struct {
	mutex   sync.Mutex
	waiting []*pending
	serving bool
}

// pending is a deletion that waits for its verdict.
type pending struct {
	settings *config.Config
	deletion Deletion
	// rules are the shared ones; facts are those of the other rules.
	rules []Rule
	facts Facts
	// end is when the caller stops waiting.
	end     time.Time
	verdict chan Verdict
	// queued: other deletions, here or in another replica, took the time.
	queued atomic.Bool
}

// decide is the verdict if the shared rules could not be evaluated because of err, or, without
// err, if none of them denies the deletion.
func (p *pending) decide(err error, now time.Time) Verdict {
	return Decide(p.settings, p.deletion, p.facts.unread(p.rules, err), now)
}

// defaultWait is for callers without a deadline.
const defaultWait = 10 * time.Second

// conflictBackoff is the wait after another replica wrote the ledger first.
var conflictBackoff = wait.Backoff{Duration: 10 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 320 * time.Millisecond}

func (g *Guard) decideInBatch(ctx context.Context, one *pending) Verdict {
	var limited bool
	if one.end, limited = ctx.Deadline(); !limited {
		one.end = time.Now().Add(defaultWait)
	}
	one.verdict = make(chan Verdict, 1)
	g.enqueue(ctx, one)
	select {
	case verdict := <-one.verdict:
		return verdict
	case <-ctx.Done():
	}
	if !one.queued.Load() {
		return one.decide(context.Cause(ctx), g.Clock.Now())
	}
	// Others took the time, so that onReadError does not apply: with it, enough deletions at once
	// would all be allowed.
	verdict := one.decide(nil, g.Clock.Now())
	if verdict.Allowed && len(one.rules) > 0 && !one.settings.DryRun {
		return busy(one.deletion.Request)
	}
	return verdict
}

func (g *Guard) enqueue(ctx context.Context, one *pending) {
	g.queue.mutex.Lock()
	defer g.queue.mutex.Unlock()
	g.queue.waiting = append(g.queue.waiting, one)
	if g.queue.serving {
		one.queued.Store(true)
	} else {
		g.queue.serving = true
		go g.serve(context.WithoutCancel(ctx))
	}
}

// serve evaluates batches until the queue is empty.
func (g *Guard) serve(ctx context.Context) {
	for {
		g.queue.mutex.Lock()
		batch := g.queue.waiting
		g.queue.waiting, g.queue.serving = nil, len(batch) > 0
		g.queue.mutex.Unlock()
		if len(batch) == 0 {
			return
		}
		end := slices.MaxFunc(batch, func(a, b *pending) int { return a.end.Compare(b.end) }).end
		ctx, cancel := context.WithDeadline(ctx, end)
		g.evaluateBatch(ctx, batch)
		cancel()
	}
}

// evaluateBatch evaluates a batch, and again after each conflict with another replica. It ends
// without an answer when no caller waits any more.
func (g *Guard) evaluateBatch(ctx context.Context, batch []*pending) {
	backoff := conflictBackoff
	for {
		if !g.limits.batches.TryAccept() {
			othersTookTime(batch)
			if g.limits.batches.Wait(ctx) != nil {
				return
			}
		}
		now := time.Now()
		batch = slices.DeleteFunc(batch, func(one *pending) bool { return !now.Before(one.end) })
		if len(batch) == 0 {
			return
		}
		verdicts, conflict := g.evaluateOnce(ctx, batch)
		if ctx.Err() != nil {
			return
		}
		if !conflict {
			for i, one := range batch {
				one.verdict <- verdicts[i]
			}
			return
		}
		othersTookTime(batch)
		select {
		case <-time.After(backoff.Step()):
		case <-ctx.Done():
			return
		}
	}
}

func othersTookTime(batch []*pending) {
	for _, one := range batch {
		one.queued.Store(true)
	}
}

// evaluateOnce returns the verdicts, or reports a conflict: another replica wrote the ledger
// since it was read.
func (g *Guard) evaluateOnce(ctx context.Context, batch []*pending) (verdicts []Verdict, conflict bool) {
	now := g.Clock.Now()
	verdicts = make([]Verdict, len(batch))
	ledger, err := g.readLedger(ctx)
	if err != nil {
		g.Log.Error("reading the ledger of the delete guard", "deletions", len(batch), "err", err)
		for i, one := range batch {
			verdicts[i] = one.decide(err, now)
		}
		return verdicts, false
	}
	var rules []Rule
	for _, one := range batch {
		if !ledger.justAllowed(one.deletion, one.rules, now) {
			rules = append(rules, one.rules...)
		}
	}
	slices.Sort(rules)
	facts := g.readShared(ctx, ledger, slices.Compact(rules), len(batch))
	for i, one := range batch {
		verdicts[i] = facts.evaluate(one, now)
	}
	if ctx.Err() != nil || !ledger.changed {
		return verdicts, false
	}
	written, err := g.writeLedger(ctx, ledger)
	if err != nil {
		g.Log.Error("writing the ledger of the delete guard", "deletions", len(batch), "err", err)
		for i, one := range batch {
			if verdicts[i].Allowed {
				verdicts[i] = one.decide(err, now)
			}
		}
		return verdicts, false
	}
	return verdicts, !written
}

// evaluate decides about one deletion of the batch, and enters it into the ledger if it is
// allowed.
func (s *sharedFacts) evaluate(one *pending, now time.Time) Verdict {
	if s.justAllowed(one.deletion, one.rules, now) {
		verdict := one.decide(nil, now)
		if verdict.Record {
			s.record(one.deletion, now)
		}
		return verdict
	}
	verdict := Decide(one.settings, one.deletion, s.about(one.deletion.Node, one.facts, one.rules), now)
	if verdict.Allowed && len(one.rules) > 0 && !one.deletion.DryRun {
		s.reserve(one.deletion, one.rules, now)
	}
	if verdict.Record {
		s.record(one.deletion, now)
	}
	return verdict
}
