package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// blocked names the blocker of the whole run if no earlier rule found a more specific cause.
func blocked(f *found, now time.Time) *printer.Cause {
	condition := api.CleanupConditionOf(f.node)
	if condition == nil || condition.Reason != string(api.Blocked) || hostReturned(f, now) != nil || recordUnreadable(f, now) != nil || secretMissing(f, now) != nil {
		return nil
	}
	if strings.HasPrefix(condition.Message, api.AwaitsRecord) && f.followsFromRights(condition.Message) {
		return nil // An earlier rule names the rights, and what to do.
	}
	if f.agent != nil && (f.rights == nil || f.rights.Fault() == "") && f.agent.Recovered(f.run) {
		return cause("blocked", inspect.RecoveredReason, "wait", retry(f), bypass(f))
	}
	if unhealthy := strings.TrimPrefix(condition.Message, api.NotStarted); unhealthy != condition.Message && allLackRights(unhealthy) && f.rights != nil {
		if f.rights.Fault() != "" {
			return nil // An earlier rule names the rights, and what to do.
		}
		if f.absence().NoLeader {
			return cause("blocked", "not started: the agent lacked rights when it last tried. It has them now, and tries again when an agent is the leader again", retry(f), bypass(f))
		}
		return cause("blocked", "not started: the agent lacked rights when it last tried. It has them now, and tries again within a minute", "wait", retry(f), bypass(f))
	}
	options := f.unhealthyAddresses(condition.Message)
	if options == nil {
		options = []string{"kubectl nodecleanup preflight " + f.name, retry(f)}
	}
	return cause("blocked", f.absence().Qualify(api.Blocked, condition.Message), append(options, bypass(f))...)
}

// followsFromRights reports whether the API server denied a request of the agent, and an earlier rule names the rights
// that the agent lacks.
func (f *found) followsFromRights(problem string) bool {
	lacks := f.rights != nil && f.rights.Fault() != "" || f.agent != nil && len(f.agent.MissingGrants) > 0
	return lacks && (strings.Contains(problem, "forbidden") || access.SaysLacking(problem))
}

// allLackRights reports whether every unhealthy step lacks rights.
func allLackRights(unhealthy string) bool {
	return !slices.ContainsFunc(strings.Split(unhealthy, "; step "), func(step string) bool { return !access.SaysLacking(step) })
}

// unhealthyAddresses returns what to change if a critical step does not reach its destination. The
// cleanup continues by itself then. The message of the condition is newer than the agent's status.
func (f *found) unhealthyAddresses(message string) []string {
	var options []string
	for _, step := range f.planned {
		_, problem, found := strings.Cut(message, fmt.Sprintf("step %s (%s): ", step.Name, step.Plugin))
		if step.Critical && found {
			problem, _, _ = strings.Cut(problem, "; step ")
			options = append(options, f.address(step.Name, problem)...)
		}
	}
	return options
}
