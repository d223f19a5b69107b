package guard

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Deletions that matter to each other are decided together: what is read serves all that
// wait by then, and only those that another agent decides can get in between.
type queue struct {
	mutex   sync.Mutex
	waiting []*asker
	serving bool
}

// asker is a deletion that waits for its verdict.
type asker struct {
	settings *config.Config
	request  Request
	// rules that others matter to; facts are of the rest.
	rules []Rule
	facts Facts
	// end is when nobody waits for the verdict any more.
	end     time.Time
	verdict chan Verdict
	// queued: what took the time were others, here or in another agent.
	queued atomic.Bool
}

// usualTime is for who waits without an end.
const usualTime = 10 * time.Second

func (g *Guard) decideTogether(ctx context.Context, settings *config.Config, request Request, rules []Rule, facts Facts) Verdict {
	end, limited := ctx.Deadline()
	if !limited {
		end = time.Now().Add(usualTime)
	}
	asker := &asker{settings: settings, request: request, rules: rules, facts: facts, end: end, verdict: make(chan Verdict, 1)}
	g.queue.mutex.Lock()
	g.queue.waiting = append(g.queue.waiting, asker)
	asker.queued.Store(g.queue.serving)
	if !g.queue.serving {
		g.queue.serving = true
		go g.serve(context.WithoutCancel(ctx))
	}
	g.queue.mutex.Unlock()
	select {
	case verdict := <-asker.verdict:
		return verdict
	case <-ctx.Done():
	}
	if !asker.queued.Load() {
		return Decide(settings, request, facts.unread(rules, context.Cause(ctx)), g.Clock.Now())
	}
	// Nothing says that it cannot be read, so that onReadError does not matter: whoever sends
	// enough deletions at once would have them all allowed.
	verdict := Decide(settings, request, facts, g.Clock.Now())
	if verdict.Allowed && !settings.DryRun {
		verdict.busy(request)
	}
	return verdict
}

// serve answers whoever waits, until nobody does.
func (g *Guard) serve(ctx context.Context) {
	for {
		g.queue.mutex.Lock()
		askers := g.queue.waiting
		g.queue.waiting, g.queue.serving = nil, len(askers) > 0
		g.queue.mutex.Unlock()
		if len(askers) == 0 {
			return
		}
		end := slices.MaxFunc(askers, func(a, b *asker) int { return a.end.Compare(b.end) }).end
		ctx, cancel := context.WithDeadline(ctx, end)
		g.answer(ctx, askers)
		cancel()
	}
}

// answer decides again and again while another agent allows deletions meanwhile. It ends
// without an answer when nobody waits for it any more.
func (g *Guard) answer(ctx context.Context, askers []*asker) {
	for {
		now := time.Now()
		askers = slices.DeleteFunc(askers, func(one *asker) bool { return !now.Before(one.end) })
		if len(askers) == 0 {
			return
		}
		var rules []Rule
		for _, one := range askers {
			rules = append(rules, one.rules...)
		}
		slices.Sort(rules)
		found := g.readCommon(ctx, slices.Compact(rules), len(askers))
		if ctx.Err() != nil {
			return
		}
		verdicts, allowed := make([]Verdict, len(askers)), false
		for i, one := range askers {
			verdicts[i] = Decide(one.settings, one.request, found.about(one.facts, one.request.Node), g.Clock.Now())
			if verdicts[i].Allowed && found.book != nil {
				found.leaves(one.request.Node, g.Clock.Now().Add(noted))
				allowed = true
			}
		}
		entered, err := !allowed, error(nil)
		if allowed {
			entered, err = g.enter(ctx, found.book)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil && !entered {
			for _, one := range askers {
				one.queued.Store(true)
			}
			continue
		}
		for i, one := range askers {
			if err != nil && verdicts[i].Allowed {
				verdicts[i] = Decide(one.settings, one.request, one.facts.unread(one.rules, err), g.Clock.Now())
			}
			one.verdict <- verdicts[i]
		}
		return
	}
}
