package inspect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// BlockPlan adds blockers to a plan that the agent would not run now: no agent is the leader, or the plugin of a
// critical step failed its last health check. ConfigHash names the config of the plan. The health checks of
// another config are ignored. A cluster that never had an agent gets no blocker: a plan needs no agent.
func BlockPlan(s *Snapshot, plan *printer.Plan, configHash string, now time.Time) {
	agent := assessAgent(s, now)
	switch {
	case s.Deployment == nil && s.Leadership.Lease == nil:
		return
	case !agent.HasLeader:
		if len(agent.MissingGrants) == 0 { // Else a blocker names the missing rights.
			plan.Blocked = append([]printer.Blocker{{What: "the agent", Reason: "no agent runs cleanups: " + agent.Problem, Remedy: RepairAgent(agent, s.Namespace)}}, plan.Blocked...)
		}
		return
	case s.Status == nil || s.Status.ConfigHash != configHash:
		return
	}
	for _, said := range s.Status.Plugins {
		plugin, what := Plugin(said), "step "+said.Step
		switch {
		case !plugin.Critical || plugin.Error == "" || access.SaysLacking(plugin.Error): // A blocker names the missing rights.
		case !slices.ContainsFunc(plan.Steps, func(step printer.PlanStep) bool { return step.Name == said.Step }):
		case slices.ContainsFunc(plan.Blocked, func(blocker printer.Blocker) bool { return slices.Contains(strings.Split(blocker.What, ", "), what) }): // Such as its Secret.
		default:
			last := "its last health check failed"
			if plugin.CheckedAt != nil {
				last = fmt.Sprintf("its last health check, %s ago, failed", printer.Age(now.Sub(plugin.CheckedAt.Time)))
			}
			plan.Blocked = append(plan.Blocked, printer.Blocker{
				What: what, Reason: last + ": " + plugin.Error, Remedy: "fix the cause, then check it again: kubectl nodecleanup preflight " + plan.Node,
			})
		}
	}
}
