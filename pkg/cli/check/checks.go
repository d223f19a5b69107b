package check

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// check is one thing to look at. Its ID never changes its meaning.
type check struct {
	id, description string
	// pre means that the check is about the requirements of an install.
	pre bool
	run func(context.Context, *subject) result
}

// checks in the order in which they are printed. A description is a neutral label, and the result
// follows it.
var checks = []check{
	{"server-version", "API server version", true, serverVersion},
	{"install-rights", "your rights to install", true, installRights},
	{"namespace", "namespace of the agent", true, namespaceThere},
	{"shadowed", "kubectl-nodecleanup on the PATH", true, shadowed},
	{"agent", "agent pods", false, agent},
	{"leader", "leader election", false, leader},
	{"version", "CLI and agent versions", false, versions},
	{"agent-rights", "rights of the agent", false, agentRights},
	{"pause", "pause, brake and maintenance windows", false, paused},
	{"config", "config", false, configValid},
	{"secrets", "secrets that the config names", false, secretsThere},
	{"certificate", "certificate authority of the webhooks", false, certificate},
	{"guard", "delete guard", false, guard},
	{"admission", "finalizer on a new node (dry run)", false, admission},
	{"plugins", "plugins of the steps and notifications", false, plugins},
	{"nodes", "protected nodes", false, nodes},
	{"bypasses", "live nodes that are marked for a bypass", false, bypasses},
	{"cleanups", "cleanups in progress", false, cleanups},
	{"metrics", "metrics of the agent", false, metrics},
	{"operate-rights", "your rights to act on nodes", false, operateRights},
}

// subject is the checked install. Data that several checks need is read once.
type subject struct {
	client    kubernetes.Interface
	namespace string
	catalog   []cleanup.Descriptor
	// now is the API server's time.
	now func() time.Time

	status     *printer.Status
	snapshot   *inspect.Snapshot
	statusErr  error
	config     *config.Config
	configErr  error
	configRead bool
	// lacks are the rights that the check agent-rights has found missing.
	lacks []rights.Right
}

type result struct {
	outcome      printer.Outcome
	detail, hint string
}

func pass(detail string) result         { return result{outcome: printer.Pass, detail: detail} }
func failed(detail, hint string) result { return result{printer.Error, detail, hint} }
func warn(detail, hint string) result   { return result{printer.Warning, detail, hint} }

// skip is the result of a check that could not run. For a denied request, it names only the right.
func skip(err error) result {
	if right, denied := access.Denied(err); denied {
		return result{outcome: printer.Skip, detail: "you lack: " + access.Describe(right)}
	}
	return result{outcome: printer.Skip, detail: err.Error()}
}

// readStatus reads the state of the install once.
func (s *subject) readStatus(ctx context.Context) (*printer.Status, error) {
	if s.status == nil && s.statusErr == nil {
		if s.snapshot, s.statusErr = inspect.NewReader(s.client, s.namespace, s.now).All(ctx); s.statusErr == nil {
			s.status = inspect.Assess(s.snapshot, version.Version, s.now())
		}
	}
	return s.status, s.statusErr
}

// logs returns the command that prints the agent's log.
func (s *subject) logs(status *printer.Status, rest string) string {
	if status.Agent.Outside {
		return "check the agent that runs outside the cluster, and start it again (make run-local)"
	}
	switch { // There is no log, or something else repairs it.
	case status.Agent.Stopped:
		return inspect.ScaleUp(s.namespace)
	case status.Agent.Health == printer.Missing:
		return inspect.Reinstall(status.Agent)
	case status.Agent.Health == printer.Broken && status.Agent.Remedy != "":
		return status.Agent.Remedy
	}
	return inspect.Logs(s.namespace, rest)
}

// notInstalled reports whether no object of an install exists. It is false if that is unknown.
func (s *subject) notInstalled(ctx context.Context) bool {
	status, err := s.readStatus(ctx)
	return err == nil && status.Agent.Health == printer.Missing && s.snapshot.Status == nil &&
		s.snapshot.Webhook == nil && s.snapshot.Policy == nil && s.snapshot.Guard == nil && !s.snapshot.GuardHidden
}

func agent(ctx context.Context, s *subject) result {
	status, err := s.readStatus(ctx)
	switch {
	case err != nil:
		return skip(err)
	case s.notInstalled(ctx):
		return failed("nodecleanup is not installed in namespace "+s.namespace, "kubectl nodecleanup install --wait; if it is elsewhere, set --namespace")
	case status.Agent.Health == printer.Missing:
		return failed(status.Agent.Problem, inspect.Reinstall(status.Agent))
	case status.Agent.Outside:
		return warn("it runs outside the cluster, which is for development only", "for production, install it in the cluster: "+api.Documents+"install.md")
	case status.Agent.Stopped:
		return failed(status.Agent.Problem, inspect.ScaleUp(s.namespace))
	}
	ready := fmt.Sprintf("%d of %d ready", status.Agent.Ready, status.Agent.Replicas)
	hint := fmt.Sprintf("kubectl -n %s describe pods", s.namespace)
	if s.snapshot.Stall != nil {
		ready, hint = ready+"; "+s.snapshot.Stall.Text, status.Agent.Remedy
	}
	switch {
	case status.Agent.Ready == 0:
		return failed(ready, hint)
	case status.Agent.Ready < status.Agent.Replicas, s.snapshot.Stall != nil:
		return warn(ready, hint)
	}
	return pass(ready)
}

func leader(ctx context.Context, s *subject) result {
	status, err := s.readStatus(ctx)
	switch {
	case err != nil:
		return skip(err)
	case !status.Agent.HasLeader:
		return failed(orElse(status.Agent.Problem, "no agent is the leader"), orElse(status.Agent.Remedy, s.logs(status, "--tail=20")))
	}
	return pass(status.Agent.Leader)
}

func versions(ctx context.Context, s *subject) result {
	status, err := s.readStatus(ctx)
	switch {
	case err != nil:
		return skip(err)
	case status.Agent.Version == "":
		return skip(fmt.Errorf("no agent has reported its version"))
	case !version.Fits(version.Version, status.Agent.Version):
		hint := "kubectl nodecleanup upgrade --wait, or use the CLI of the agent's version"
		if status.Agent.Outside {
			hint = "start an agent of this version outside the cluster, or use the CLI of the agent's version"
		}
		return warn(fmt.Sprintf("the agent is %s, this CLI is %s", status.Agent.Version, version.Version), hint)
	}
	found := version.Version
	if found != status.Agent.Version {
		found = fmt.Sprintf("the agent is %s, this CLI is %s", status.Agent.Version, version.Version)
	}
	return pass(strings.TrimPrefix(s.stale(status)+": "+found, ": "))
}

func nodes(ctx context.Context, s *subject) result {
	status, err := s.readStatus(ctx)
	if err != nil {
		return skip(err)
	}
	counts, excluded := status.Nodes, ""
	if counts.Excluded > 0 {
		excluded = fmt.Sprintf(" (excluded by nodeSelector: %d)", counts.Excluded)
	}
	selected := counts.Total - counts.Excluded
	if counts.Unprotected > 0 {
		return warn(fmt.Sprintf("%d of %d nodes lack the finalizer%s", counts.Unprotected, selected, excluded), "see which: kubectl nodecleanup nodes list")
	}
	return pass(fmt.Sprintf("%d of %d%s", counts.Protected, selected, excluded))
}

func bypasses(ctx context.Context, s *subject) result {
	status, err := s.readStatus(ctx)
	if err != nil {
		return skip(err)
	}
	marked := status.Bypasses
	switch len(marked) {
	case 0:
		return pass("none")
	case 1:
		return warn(fmt.Sprintf("node %s: %s", marked[0].Node, marked[0].Line()), command.TakeBack(marked[0].Node))
	}
	return warn(fmt.Sprintf("%d nodes; node %s: %s", len(marked), marked[0].Node, marked[0].Line()), "kubectl nodecleanup nodes list shows which. "+command.TakeBack(marked[0].Node))
}

func cleanups(ctx context.Context, s *subject) result {
	status, err := s.readStatus(ctx)
	if err != nil {
		return skip(err)
	}
	if len(status.Cleanups) > 0 && (!status.Agent.HasLeader || lacksOwnRights(status)) {
		return warn(fmt.Sprintf("%d not done, and no agent runs them: %s", len(status.Cleanups), status.Agent.Problem), status.Next)
	}
	for _, cleanup := range status.Cleanups {
		if cleanup.Stuck {
			return warn(fmt.Sprintf("node %s is %s: %s", cleanup.Node, cleanup.State, cleanup.Reason), "kubectl nodecleanup diagnose "+cleanup.Node)
		}
	}
	if status.Agent.Health.Bad() && len(status.Cleanups) > 0 {
		return warn(fmt.Sprintf("%d not done: %s", len(status.Cleanups), status.Agent.Problem), status.Next)
	}
	if len(status.Cleanups) == 0 {
		return pass("none")
	}
	return pass(fmt.Sprintf("%d, none needs attention", len(status.Cleanups)))
}

func paused(ctx context.Context, s *subject) result {
	status, err := s.readStatus(ctx)
	switch {
	case err != nil:
		return skip(err)
	case status.Pause == nil && s.snapshot.Status != nil && s.snapshot.Status.Brake.AlertsError != "":
		return warn("cleanups may begin, but the alerts of the brake cannot be read: "+s.snapshot.Status.Brake.AlertsError,
			"check brake.alerts: kubectl nodecleanup config edit")
	case status.Pause != nil && status.Pause.Ends():
		return pass(status.Pause.Line(s.now()))
	case status.Pause != nil:
		return warn(status.Pause.Line(s.now()), inspect.Resume(status.Pause))
	}
	return pass("none: cleanups may begin")
}

func installRights(ctx context.Context, s *subject) result {
	missing, err := rights.MissingToInstall(ctx, s.client, s.namespace)
	switch {
	case err != nil:
		return skip(err)
	case len(missing) > 0:
		return warn("you lack: "+rights.Some(missing), "only a cluster administrator can install and upgrade: choose another user with --as or --context")
	}
	return pass("complete")
}

func operateRights(ctx context.Context, s *subject) result {
	missing, err := rights.MissingOfMine(ctx, s.client, rights.ToOperate(s.namespace))
	switch {
	case err != nil:
		return skip(err)
	case len(missing) > 0:
		return warn("you lack: "+rights.Some(missing), "ask a cluster administrator for the ClusterRole and the Role nodecleanup-operator")
	}
	return pass("complete")
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
