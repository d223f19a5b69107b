package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// stale describes the age of the agent's status. It is empty while an agent leads and can renew it.
func (s *subject) stale(status *printer.Status) string {
	switch {
	case lacksOwnRights(status) && s.snapshot.Status != nil && !s.snapshot.Status.UpdatedAt.IsZero():
		return fmt.Sprintf("as of the agent's last status, %s ago", printer.Age(s.now().Sub(s.snapshot.Status.UpdatedAt.Time)))
	case lacksOwnRights(status):
		return "as of the agent's last status"
	case status.Agent.HasLeader:
		return ""
	}
	at := status.Agent.RenewedAt
	if at == nil && s.snapshot.Status != nil {
		at = &s.snapshot.Status.UpdatedAt
	}
	if at.IsZero() {
		return "as of the last leader"
	}
	return fmt.Sprintf("as of the last leader, %s ago", printer.Age(s.now().Sub(at.Time)))
}

func lacksOwnRights(status *printer.Status) bool {
	return inspect.LacksOwnRights(status.Agent.MissingGrants)
}

// certificate checks the CA of both webhooks. A webhook that the install omits has none.
func certificate(ctx context.Context, s *subject) result {
	const soon = 7 * 24 * time.Hour
	status, err := s.readStatus(ctx)
	if err != nil {
		return skip(err)
	}
	admission, guard := status.Admission, status.Guard
	hint := s.logs(status, "--tail=-1 | grep -i certificate")
	byPolicy := ""
	switch {
	case admission.Health == printer.Missing:
		return failed(admission.Problem, inspect.Reinstall(status.Agent))
	case admission.Problem != "":
		return failed(admission.Problem, hint)
	case !slices.Contains(admission.Ways, "webhook"):
		byPolicy = "no webhook for new nodes (--admission=policy)"
		if guard.Health == printer.Broken && guard.Problem != "" {
			return failed("delete guard: "+guard.Problem, hint)
		}
	}
	end := admission.CAExpiresAt
	if other := guard.CAExpiresAt; other != nil && (end == nil || other.Before(end)) {
		end = other
	}
	if end == nil {
		return pass(byPolicy)
	}
	left := end.Sub(s.now())
	if left < soon {
		return warn("expires in "+printer.Age(left), hint)
	}
	if byPolicy != "" {
		byPolicy += "; delete guard: "
	}
	return pass(byPolicy + "valid " + printer.Age(left))
}

// guard checks the webhook configuration, then that the API server reaches the agent with it.
func guard(ctx context.Context, s *subject) result {
	status, err := s.readStatus(ctx)
	if err != nil {
		return skip(err)
	}
	switch guard := status.Guard; {
	case guard.Health == printer.Missing:
		return failed(status.Guard.Problem, inspect.Reinstall(status.Agent))
	case guard.Health == printer.Broken && guard.Problem != "":
		return failed(status.Guard.Problem, s.logs(status, "--tail=-1 | grep -i certificate"))
	case guard.Health == printer.Unknown:
		return skip(errors.New(status.Guard.Problem))
	case guard.Remedy != "":
		return failed(fmt.Sprintf("%s (failurePolicy %s)", guard.NoAnswer, guard.FailurePolicy), guard.Remedy)
	}
	agent := status.Agent
	if answers := agent.Ready > 0 || agent.Outside && agent.HasLeader; !answers {
		return failed(fmt.Sprintf("no agent answers it, so %s (failurePolicy %s); %s", guardFails(status), status.Guard.FailurePolicy, s.stale(status)), s.logs(status, "--tail=20"))
	}
	if fault := s.blind(status); fault != "" {
		return failed("the agent cannot evaluate a deletion, so "+guardFails(status)+": "+fault, rights.Regrant(ctx, s.client, s.namespace, agent))
	}
	return s.probeGuard(ctx, status)
}

// blind returns why the agent cannot read nodes, empty if it can or that is not known.
func (s *subject) blind(status *printer.Status) string {
	if lacksOwnRights(status) {
		return status.Agent.Problem
	}
	unread := slices.DeleteFunc(slices.Clone(s.lacks), func(right rights.Right) bool {
		return right.Group != "" || right.Resource != "nodes" || !slices.Contains([]string{"get", "list", "watch"}, right.Verb)
	})
	if len(unread) == 0 {
		return ""
	}
	return "the agent lacks: " + access.DescribeAll(unread)
}

// guardFails describes the consequence if the API server cannot reach the delete guard.
func guardFails(status *printer.Status) string {
	if status.Guard.FailurePolicy == "Fail" {
		return "every deletion of a node is refused"
	}
	return "deletions of nodes are not guarded"
}

// plugins names every unhealthy plugin, those of critical steps first.
func plugins(ctx context.Context, s *subject) result {
	status, err := s.readStatus(ctx)
	if err != nil {
		return skip(err)
	}
	if len(status.Plugins) == 0 {
		return skip(errors.New("no agent has reported the health of its plugins"))
	}
	unhealthy := slices.DeleteFunc(slices.Clone(status.Plugins), func(p printer.PluginHealth) bool { return p.Error == "" })
	slices.SortStableFunc(unhealthy, func(a, b printer.PluginHealth) int { return cmp.Compare(rank(a), rank(b)) })
	stale := s.stale(status)
	if len(unhealthy) == 0 && stale != "" {
		why := "no agent is the leader"
		if lacksOwnRights(status) {
			why = status.Agent.Problem
		}
		return skip(fmt.Errorf("%s, so plugins are not checked; %s: %s without a problem", why, stale, api.Count(len(status.Plugins), "step")))
	}
	notifications := slices.DeleteFunc(slices.Clone(status.Notifications), func(n printer.NotificationHealth) bool { return n.Error == "" })
	if len(unhealthy)+len(notifications) == 0 {
		return pass(api.Count(len(status.Plugins), "step"))
	}
	var names []string
	for _, plugin := range unhealthy {
		names = append(names, fmt.Sprintf("step %s (%s): %s", plugin.Step, plugin.Plugin, plugin.Error))
	}
	for _, one := range notifications {
		names = append(names, fmt.Sprintf("notification %s (%s): %s", one.Notification, one.Plugin, one.Error))
	}
	detail := strings.TrimPrefix(stale+": "+strings.Join(names, "; "), ": ")
	say, hint := warn, "kubectl nodecleanup plugins status"
	if len(unhealthy) > 0 {
		hint = "kubectl nodecleanup plugins test " + unhealthy[0].Step
		if unhealthy[0].Critical {
			say = failed
		}
	}
	if stale != "" {
		hint = s.logs(status, "--tail=20") // No agent would answer a test.
	}
	return say(detail, hint)
}

func rank(plugin printer.PluginHealth) int {
	if plugin.Critical {
		return 0
	}
	return 1
}
