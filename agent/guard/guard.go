package guard

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Options are what a guard works with. All are required.
type Options struct {
	Client   kubernetes.Interface
	Metadata metadata.Interface
	// Namespace of the agent.
	Namespace string
	// Config returns the config in force.
	Config func() *config.Config
	Events record.EventRecorder
	Clock  clock.PassiveClock
	Log    *slog.Logger
}

// Guard answers deletions. It is for concurrent use, in every agent.
type Guard struct {
	Options
	// queue are the deletions that others at the same time matter to.
	queue queue
}

// New returns a guard.
func New(options Options) *Guard { return &Guard{Options: options} }

// readShare is how much of the time for an answer may pass until everything is read. The
// rest is for saying so.
const readShare = 0.75

// Judge answers a request within the time that ctx gives. On a dry run it writes nothing.
func (g *Guard) Judge(ctx context.Context, request Request) Verdict {
	settings := g.Config()
	log := g.Log.With("node", request.Node.Name, "uid", request.Node.UID, "user", request.User, "dryRun", request.DryRun)
	reading := ctx
	if end, limited := ctx.Deadline(); limited {
		var cancel context.CancelFunc
		reading, cancel = context.WithTimeout(ctx, time.Duration(readShare*float64(time.Until(end))))
		defer cancel()
	}
	if settings.Guard.Enabled && request.Node.DeletionTimestamp == nil && !g.there(reading, request.Node) {
		// Whoever can reach the webhook can ask. An invented Node is to cost no more than this.
		log.Warn("asked about the deletion of a node that is not there")
		return Verdict{Allowed: true}
	}
	verdict := g.decide(reading, settings, request)
	if verdict.Busy {
		log.Warn("a deletion was not looked at in time, for so many are asked about at once")
		return verdict
	}
	for _, unread := range verdict.Unread {
		log.Error("a rule of the delete guard cannot be looked at", "rule", string(unread.Rule), "allowed", verdict.Allowed, "err", unread.Err)
	}
	if request.DryRun {
		return verdict
	}
	if !verdict.Allowed {
		log.Warn("deletion of a node refused", "why", verdict.Message)
		g.tell(request.Node, deletionRefused(request, verdict))
		return verdict
	}
	if verdict.Note {
		if g.noted(request) {
			return verdict // The API server asks again about the same deletion.
		}
		if err := g.note(ctx, request); err != nil {
			log.Warn("who asked for a deletion is not kept", "err", err)
		}
	}
	if verdict.BreakGlass.Active {
		log.Warn("deletion of a node let through by break-glass", "reason", verdict.BreakGlass.Reason)
		g.tell(request.Node, glassBroken(request, verdict.BreakGlass))
	}
	return verdict
}

// decide reads and decides.
func (g *Guard) decide(ctx context.Context, settings *config.Config, request Request) Verdict {
	asked := Asked(settings, request, g.Clock.Now())
	if g.justAllowed(request) {
		asked = nil // The rules that need no read are looked at all the same.
	}
	facts := g.own(ctx, settings.Guard, request.Node, asked)
	inBook := booked(asked)
	switch {
	case len(inBook) == 0:
		return Decide(settings, request, facts, g.Clock.Now())
	case request.DryRun:
		return Decide(settings, request, g.readCommon(ctx, inBook, 1).about(facts, request.Node), g.Clock.Now())
	case ctx.Err() != nil:
		return Decide(settings, request, facts.unread(inBook, context.Cause(ctx)), g.Clock.Now())
	}
	return g.decideTogether(ctx, settings, request, inBook, facts)
}

// unread are the facts where rules could not be looked at.
func (f Facts) unread(rules []Rule, err error) Facts {
	f.Unread = maps.Clone(f.Unread)
	for _, rule := range rules {
		f.Unread[rule] = err
	}
	return f
}
