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
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/repair"
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
	case guard.Health == printer.Degraded:
		return warn(guard.Problem, inspect.Regrant(ctx, s.client, s.namespace, status.Agent))
	case guard.NoAnswer != "":
		remedy := guard.Remedy
		if remedy == "" && lacksOwnRights(status) {
			remedy = inspect.Regrant(ctx, s.client, s.namespace, status.Agent)
		}
		return failed(fmt.Sprintf("%s (failurePolicy %s)", guard.NoAnswer, guard.FailurePolicy), cmp.Or(remedy, s.logs(status, "--tail=20")))
	}
	if fault := s.blind(); fault != "" {
		return failed(fmt.Sprintf("%s (failurePolicy %s): %s", inspect.Blind, status.Guard.FailurePolicy, fault), inspect.Regrant(ctx, s.client, s.namespace, status.Agent))
	}
	return s.probeGuard(ctx, status)
}

// blind returns the right to read a node if the agent lacks it: the guard reads the node first. It is empty if the
// agent has it or that is not known.
func (s *subject) blind() string {
	unread := slices.DeleteFunc(slices.Clone(s.lacks), func(right rights.Right) bool {
		return right.Group != "" || right.Resource != "nodes" || right.Verb != "get"
	})
	if len(unread) == 0 {
		return ""
	}
	return access.Lacking(access.DescribeAll(unread))
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
	var names, problems []string
	for _, plugin := range unhealthy {
		names, problems = append(names, fmt.Sprintf("step %s (%s)", plugin.Step, plugin.Plugin)), append(problems, plugin.Dated(s.now()))
	}
	for _, one := range notifications {
		names, problems = append(names, fmt.Sprintf("notification %s (%s)", one.Notification, one.Plugin)), append(problems, one.Dated(s.now()))
	}
	detail := strings.TrimPrefix(stale+": "+strings.Join(printer.ByProblem(names, problems, "%s: %s"), "; "), ": ")
	say := warn
	if len(unhealthy) > 0 && unhealthy[0].Critical {
		say = failed
	}
	if stale != "" {
		return say(detail, s.logs(status, "--tail=20")) // No agent would answer a test.
	}
	if len(unhealthy) == 0 {
		return say(detail, s.repairOf(ctx, status, "notification "+notifications[0].Notification, notifications[0].Notification, notifications[0].Error))
	}
	return say(detail, s.repairOf(ctx, status, "step "+unhealthy[0].Step, unhealthy[0].Step, unhealthy[0].Error))
}

// repairOf returns the next step for an unhealthy plugin, which is used in a place such as "step tell".
func (s *subject) repairOf(ctx context.Context, status *printer.Status, place, name, problem string) string {
	if access.SaysLacking(problem) {
		return inspect.Regrant(ctx, s.client, s.namespace, status.Agent)
	}
	// The checks config and secrets report what cannot be read.
	if missing, err := s.missingSecrets(ctx, place); err == nil && len(missing) > 0 {
		return preview.CommandsOf(missing)
	}
	if fix := s.useOf(ctx, place).For(s.namespace, problem); fix != nil {
		return fix.Line()
	}
	return "kubectl nodecleanup plugins test " + name
}

// useOf returns the step or notification of a place of the config, empty if it is not known.
func (s *subject) useOf(ctx context.Context, place string) repair.Use {
	settings, err := s.settings(ctx)
	if err != nil {
		return repair.Use{}
	}
	var uses []repair.Use
	for _, step := range settings.Steps {
		uses = append(uses, repair.OfStep(step))
	}
	for _, one := range settings.Notifications {
		uses = append(uses, repair.OfNotification(one))
	}
	if at := slices.IndexFunc(uses, func(use repair.Use) bool { return use.Place == place }); at >= 0 {
		return uses[at]
	}
	return repair.Use{}
}

func rank(plugin printer.PluginHealth) int {
	if plugin.Critical {
		return 0
	}
	return 1
}
