// Package cleanup is the contract for plugin authors.
//
// A plugin is a kind of cleanup: drain the node, notify an inventory, detach storage. Its author
// implements one method, Cleanup. The config decides when a step runs, its dependencies, retries
// and timeouts, and whether it is critical. A plugin implements none of that.
//
// A plugin can have further abilities, each an interface of one method: NodeFilter, HealthChecker, Previewer,
// Verifier, Withdrawer, RuleRequirer, OptionalRuleRequirer, NamespaceRuleRequirer, OutputNamer, PodRunner.
// They are detected once, when the step is built. A plugin that sends messages about cleanups is a Notifier.
// A plugin can be both, or only a Notifier.
//
// This is version 1 of the contract. What compiles with it today still compiles with later versions, and
// means the same: nothing exported is removed or gets another type, and no interface gains a method.
// Structs can gain fields, so write their values with field names. hack/contract checks this.
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
	// idempotent: after a crash, the agent calls it again with the same
	// IdempotencyKey. It must return soon after ctx is done. The agent retries
	// after an error, unless Permanent marks it; RetryAfter sets the minimum wait. The text of
	// an error is shown to operators, and must contain no secret.
	Cleanup(ctx context.Context, target Target) error
}

// NodeFilter is implemented by plugins that have nothing to do for some Nodes.
type NodeFilter interface {
	// Applies reports whether the step applies to this Node and, if it does not,
	// the reason, which is shown to operators. It must make no request.
	Applies(node *corev1.Node) (applies bool, reason string)
}

// HealthChecker is implemented by plugins that can check in advance whether Cleanup can work.
type HealthChecker interface {
	// CheckHealth returns an error if the plugin is unhealthy. It changes nothing.
	CheckHealth(ctx context.Context) error
}

// Previewer is implemented by plugins that can list the effects of Cleanup in advance.
type Previewer interface {
	// Preview returns the effects of Cleanup and their current blockers. It changes nothing.
	// Effects are stored and shown, so they must not contain secrets.
	Preview(ctx context.Context, target Target) ([]Effect, error)
}

// Verifier is implemented by plugins that can check whether the work of an earlier Cleanup still
// holds. The agent verifies each completed step before it releases the Node. It also does so after
// a restart, after a retry, and for a cleanup that was done before the deletion.
type Verifier interface {
	// Verify returns "" if the work for target.Node is still done. Otherwise it describes the
	// undone work in a few words without secrets, and the agent calls Cleanup again. Verify
	// changes nothing, is cheap, and returns an error if it cannot decide.
	Verify(ctx context.Context, target Target) (undone string, err error)
}

// Withdrawer is implemented by plugins that can withdraw the requests of an unfinished Cleanup.
type Withdrawer interface {
	// Withdraw withdraws unfinished requests of Cleanup to other programs for target.Node. The
	// agent calls it when it cancels the cleanup of a Node that is not deleted, even if Cleanup
	// was never called. It must be idempotent. The agent calls it again after an error.
	Withdraw(ctx context.Context, target Target) error
}

// RuleRequirer is implemented by plugins that need rights in the cluster. The agent
// and `kubectl nodecleanup check` compare them with the rights that the agent has.
type RuleRequirer interface {
	// Rules returns the RBAC rules that the agent needs for the options of this step, for all
	// namespaces. It calls nothing.
	Rules() []rbacv1.PolicyRule
}

// OptionalRuleRequirer is implemented by plugins that use further rights if the agent has them. An
// install grants them; the agent accepts a config without them.
type OptionalRuleRequirer interface {
	// OptionalRules returns these RBAC rules, for all namespaces. It calls nothing.
	OptionalRules() []rbacv1.PolicyRule
}

// NamespaceRuleRequirer is implemented by plugins that need rights in single namespaces. An
// install grants them by a Role in each of these namespaces.
type NamespaceRuleRequirer interface {
	// NamespaceRules returns the RBAC rules that the agent needs for the options of this step, by
	// namespace. It calls nothing.
	NamespaceRules() map[string][]rbacv1.PolicyRule
}

// PodRunner is implemented by plugins that run Pods in the cluster. A client that may create Pods in a
// namespace has the power of each ServiceAccount there, so the config rejects a step whose ServiceAccount
// is not in its list "jobs".
type PodRunner interface {
	// RunsPods describes the Pods of this step. It calls nothing.
	RunsPods() PodRun
}

// PodRun describes the Pods that a step runs.
type PodRun struct {
	Namespace, ServiceAccountName string
	// OnNode means that the Pods run on the Node that is cleaned up. A drain would evict them, so the config
	// rejects a step that can run at the same time as a drain.
	OnNode bool
}

// OutputNamer is implemented by plugins that record outputs, see Target.Output. The config rejects a
// reference to an output of a plugin that does not implement it.
type OutputNamer interface {
	// OutputNames returns the names of the outputs that Cleanup can record with the options of this
	// step. It returns nil if the names are not known in advance.
	OutputNames() []string
}

// Target describes one call of a plugin.
type Target struct {
	// Node is a snapshot that was read from the API server when the run began
	// or was resumed. It is shared: do not change it.
	Node *corev1.Node
	// Step is the name of the step.
	Step string
	// DeletedBy is the user who deleted the Node or requested its cleanup, "" if unknown. "(unverified)"
	// follows the name if another client could have written it.
	DeletedBy string
	// Attempt counts the calls for this step of this Node, from 1.
	Attempt int
	// Began is the start of the first attempt, as the run record stores it: in whole seconds, and
	// preserved across restarts of the agent. A requested retry sets it again. It follows the API
	// server's clock, as plugins.Dependencies.Clock does. The clock of this machine may differ by
	// minutes.
	Began time.Time
	// IdempotencyKey is "<node UID>/<step name>": the same for every attempt,
	// also after a restart of the agent, and for no other work.
	IdempotencyKey string
	// Log is bound to the node and the step.
	Log *slog.Logger
	// Progress reports in a few words what the step waits for. It may be called often; only the
	// latest text is kept.
	Progress func(text string)
	// Counted receives the progress in numbers. Call Count instead: Counted may be nil.
	Counted func(Counts)
	// Outputs are the outputs in the run record, by step and name. They include those of earlier
	// attempts of this step. It is shared: do not change it.
	Outputs map[string]map[string]string
	// Recorded receives an output. Call Output instead: Recorded may be nil.
	Recorded func(name, value string) error
}

// Counts are the progress of a step in numbers. They are stored in run records, so package api
// defines them.
type Counts = api.Counts

// Count reports the progress in numbers, in addition to Progress. It may be called often; only the
// newest counts are kept.
func (t Target) Count(counts Counts) {
	if t.Counted != nil {
		t.Counted(counts)
	}
}
