package guard

import (
	"context"
	"log/slog"
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
	// turn is held while a deletion is decided that others at the same time matter to, so
	// that only those that another agent decides can get in between.
	turn chan struct{}
}

// New returns a guard.
func New(options Options) *Guard { return &Guard{options, make(chan struct{}, 1)} }

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

// decide reads and decides, again when another agent allowed a deletion meanwhile.
func (g *Guard) decide(ctx context.Context, settings *config.Config, request Request) Verdict {
	asked := Asked(settings, request, g.Clock.Now())
	if len(asked) == 0 {
		return Decide(settings, request, Facts{}, g.Clock.Now())
	}
	inBook := booked(asked)
	if len(inBook) == 0 || request.DryRun {
		facts, _ := g.read(ctx, settings.Guard, request.Node, asked)
		return Decide(settings, request, facts, g.Clock.Now())
	}
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return Decide(settings, request, unread(asked, context.Cause(ctx)), g.Clock.Now())
	}
	for {
		facts, written := g.read(ctx, settings.Guard, request.Node, asked)
		verdict := Decide(settings, request, facts, g.Clock.Now())
		if !verdict.Allowed || written == nil {
			return verdict
		}
		switch entered, err := g.enter(ctx, written, request.Node); {
		case err != nil:
			for _, rule := range inBook {
				facts.Unread[rule] = err
			}
			return Decide(settings, request, facts, g.Clock.Now())
		case entered:
			return verdict
		}
	}
}

// unread are the facts where nothing could be read.
func unread(asked []Rule, err error) Facts {
	facts := Facts{Unread: map[Rule]error{}}
	for _, rule := range asked {
		facts.Unread[rule] = err
	}
	return facts
}
