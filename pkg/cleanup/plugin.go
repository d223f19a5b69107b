// Package cleanup is the contract for plugin authors.
//
// A plugin is a kind of cleanup: drain the node, tell an inventory, detach
// storage. Its author writes one method, Cleanup. When it runs, after what, how
// often it is tried, for how long, and whether the Node waits for it is config,
// which wraps the plugin from outside; a plugin implements none of it.
//
// A plugin can have further abilities, each an interface of one method that is
// looked for once, when the step is built: NodeFilter, HealthChecker, Previewer, Verifier,
// Withdrawer, RuleRequirer.
package cleanup

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Plugin does one kind of cleanup for one Node at a time. Its methods are called
// from several goroutines, for different Nodes.
type Plugin interface {
	// Cleanup returns nil when the work for target.Node is done. It must be
	// idempotent: after a crash it is called again with the same
	// IdempotencyKey. It must return soon after ctx is done. An error is tried
	// again unless it is marked by Permanent; RetryAfter says when. The text of
	// an error is shown to operators and must hold no secret.
	Cleanup(ctx context.Context, target Target) error
}

// NodeFilter is the ability to say that a step has nothing to do for a Node.
type NodeFilter interface {
	// Applies reports whether the step is for this Node and, when it is not,
	// the reason, which is shown to operators. It must not call anything.
	Applies(node *corev1.Node) (applies bool, reason string)
}

// HealthChecker is the ability to say whether Cleanup would have a chance.
type HealthChecker interface {
	// CheckHealth returns what is wrong, or nil. It changes nothing anywhere.
	CheckHealth(ctx context.Context) error
}

// Previewer is the ability to say what Cleanup would do.
type Previewer interface {
	// Preview returns the effects that Cleanup would have, and what blocks them now. It
	// changes nothing anywhere. Effects are stored and shown, so they hold no secret.
	Preview(ctx context.Context, target Target) ([]Effect, error)
}

// Verifier is the ability to tell whether the work of an earlier Cleanup still holds. The agent
// verifies each step that is done before it releases the Node, also after a restart, a retry,
// and for a cleanup that was done before the deletion.
type Verifier interface {
	// Verify returns what has to be done again, in a few words that hold no secret, or "" if
	// the work for target.Node is still done: then Cleanup is called again. It changes nothing
	// anywhere, is cheap, and returns an error if it cannot tell.
	Verify(ctx context.Context, target Target) (undone string, err error)
}

// Withdrawer is the ability to take back what an unfinished Cleanup has asked others to do.
type Withdrawer interface {
	// Withdraw takes back what Cleanup has asked other programs to do for target.Node and
	// that is not done. The agent calls it when it cancels the cleanup of a Node that is not
	// deleted, also if Cleanup was never called. It must be idempotent. The agent calls it
	// again after an error.
	Withdraw(ctx context.Context, target Target) error
}

// RuleRequirer is the ability to name the rights that Cleanup needs in the cluster. The agent
// and `kubectl nodecleanup check` compare them with the rights that the agent has.
type RuleRequirer interface {
	// Rules returns the RBAC rules that the agent needs for the options of this step, for all
	// namespaces. It calls nothing.
	Rules() []rbacv1.PolicyRule
}

// Target describes one call of a plugin.
type Target struct {
	// Node is a snapshot that was read from the API server when the run began
	// or was resumed. It is shared: do not change it.
	Node *corev1.Node
	// Attempt counts the calls for this step of this Node, from 1.
	Attempt int
	// Began is when the first attempt did, as the run record has it: to the second,
	// also after a restart of the agent. A requested retry starts again.
	// It is by the API server's clock, as the one of plugins.Dependencies is; this
	// machine's may be minutes off.
	Began time.Time
	// IdempotencyKey is "<node UID>/<step name>": the same for every attempt,
	// also after a restart of the agent, and for no other work.
	IdempotencyKey string
	// Log is bound to the node and the step.
	Log *slog.Logger
	// Progress tells operators what is being waited for, in a few words. It
	// may be called often; only the newest text is kept.
	Progress func(text string)
	// Counted takes how much of the work is done. Call it by Count: it may be nil.
	Counted func(Counts)
}

// Counts tell how much of the work is done. They are stored in run records, so their
// definition is part of package api.
type Counts = api.Counts

// Count tells operators how much of the work is done, next to Progress. It may be called
// often; only the newest counts are kept.
func (t Target) Count(counts Counts) {
	if t.Counted != nil {
		t.Counted(counts)
	}
}
