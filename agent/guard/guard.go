package guard

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Options are the dependencies of a Guard. All are required.
type Options struct {
	Client   kubernetes.Interface
	Metadata metadata.Interface
	// Namespace of the agent.
	Namespace string
	// Config returns the active config.
	Config func() *config.Config
	Events record.EventRecorder
	Clock  clock.PassiveClock
	// Log must bound its output: callers that are not authenticated cause log lines.
	Log *slog.Logger
}

// Guard evaluates deletions. Every replica has one; it is safe for concurrent use.
type Guard struct {
	Options
	limits limits
	queue  queue
}

// New returns a Guard.
func New(options Options) *Guard { return &Guard{Options: options, limits: newLimits()} }

// readShare is the share of the time for an answer that reads may take. The rest is for the
// answer itself.
const readShare = 0.75

// Evaluate answers a request before ctx ends. It decides on the live Node, see Decide; it writes to
// the ledger only: nothing for a dry run, and never to the Node.
func (g *Guard) Evaluate(ctx context.Context, request Request) Verdict {
	settings := g.Config()
	if !settings.Guard.Enabled {
		return Verdict{Allowed: true}
	}
	if end, limited := ctx.Deadline(); limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(readShare*float64(time.Until(end))))
		defer cancel()
	}
	log := g.Log.With("node", request.Name, "uid", request.UID, "user", request.User, "verified", request.Verified, "dryRun", request.DryRun)
	deletion, facts, waited, err := g.collect(ctx, settings, request)
	switch {
	case err != nil, waited && ctx.Err() != nil:
		// Others took the time, so that onReadError does not apply.
		log.Warn("too many node deletions at once, denying one", "err", err)
		return busy(request)
	case deletion.Node == nil && facts.Unread[Protect] == nil:
		log.Warn("evaluating a deletion: no such node")
		return Verdict{Allowed: true}
	}
	verdict := g.decide(ctx, settings, deletion, facts, waited)
	g.report(log, deletion, verdict)
	return verdict
}

// collect reads the live Node and the facts about it that no other deletion changes. The Node
// is nil if there is none with that UID, or if it could not be read. Waited says that the guard
// was reading for too many other requests; the error, that it still was when ctx ended.
func (g *Guard) collect(ctx context.Context, settings *config.Config, request Request) (deletion Deletion, facts Facts, waited bool, err error) {
	deletion, facts = Deletion{Request: request}, Facts{OtherSchedulable: true, Unread: map[Rule]error{}}
	release, waited, err := g.limits.acquire(ctx, request.Verified)
	if err != nil {
		return deletion, facts, waited, err
	}
	defer release()
	if deletion.Node, err = g.readNode(ctx, request); err != nil {
		facts.Unread[Protect] = err
		return deletion, facts, waited, nil
	}
	if deletion.Node != nil {
		g.readOwn(ctx, &facts, settings.Guard, request.Name, Needed(settings, deletion, g.Clock.Now()))
	}
	return deletion, facts, waited, nil
}

// decide evaluates the rules. Those that other deletions change are evaluated in a batch, and
// so is what the ledger records.
func (g *Guard) decide(ctx context.Context, settings *config.Config, deletion Deletion, facts Facts, waited bool) Verdict {
	var rules []Rule
	if deletion.Node != nil {
		rules = shared(Needed(settings, deletion, g.Clock.Now()))
	}
	verdict := Decide(settings, deletion, facts.unread(rules, context.Cause(ctx)), g.Clock.Now())
	if len(rules) == 0 && !verdict.Record || ctx.Err() != nil {
		return verdict
	}
	one := &pending{settings: settings, deletion: deletion, rules: rules, facts: facts}
	one.queued.Store(waited)
	return g.decideInBatch(ctx, one)
}

// report logs a verdict and records Events about it.
func (g *Guard) report(log *slog.Logger, deletion Deletion, verdict Verdict) {
	if verdict.Busy {
		log.Warn("too many node deletions at once, denying one")
		return
	}
	for _, unread := range verdict.Unread {
		log.Error("evaluating a rule of the delete guard", "rule", string(unread.Rule), "allowed", verdict.Allowed, "err", unread.Err)
	}
	switch {
	case deletion.DryRun:
	case !verdict.Allowed:
		log.Warn("node deletion denied", "why", verdict.Message)
		g.event(deletion.Request, deletionRefused(deletion.Request, verdict))
	case verdict.BreakGlass.Active:
		log.Warn("node deletion allowed by break-glass", "reason", verdict.BreakGlass.Reason)
		g.event(deletion.Request, glassBroken(deletion.Request, verdict.BreakGlass))
	}
}

// event records an Event about the Node.
func (g *Guard) event(request Request, e event) {
	g.Events.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: request.Name, UID: request.UID}, e.kind, e.reason, e.message)
}
