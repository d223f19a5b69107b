package preview

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// maxListed is how many effects a summary lists one by one.
const maxListed = 2

// summarize returns the effects of a step in one line.
func summarize(step config.Step, effects []cleanup.Effect) string {
	if step.Plugin == api.DrainPlugin {
		return summarizeDrain(effects)
	}
	var lines []string
	for _, effect := range effects {
		lines = append(lines, effect.String())
	}
	if len(lines) == 0 {
		return "nothing to do"
	}
	if len(lines) > maxListed {
		return fmt.Sprintf("%s; and %d more", lines[0], len(lines)-1)
	}
	return strings.Join(lines, "; ")
}

// summarizeDrain counts Pods, because a Node can have hundreds.
func summarizeDrain(effects []cleanup.Effect) string {
	var parts []string
	evicted, blocked, unchecked, restarted, terminating, held, completing := 0, 0, 0, 0, 0, 0, 0
	skipped := map[string]int{}
	for _, effect := range effects {
		switch effect.Action {
		case cleanup.Cordon:
			parts = append(parts, "cordon")
		case cleanup.Evict:
			evicted++
			if effect.Blocked != nil {
				blocked++
			}
			if effect.Unchecked != "" {
				unchecked++
			}
		case cleanup.Restart:
			restarted++
		case cleanup.Wait:
			if strings.Contains(effect.Reason, "terminating") {
				terminating++
				if effect.Blocked != nil {
					held++
				}
			} else {
				completing++
			}
		case cleanup.Skip:
			skipped[effect.Reason]++
		}
	}
	text := "evict " + api.Count(evicted, "pod")
	if blocked > 0 {
		text += fmt.Sprintf(", %d BLOCKED", blocked)
	}
	if unchecked > 0 {
		text += ", budgets not known"
	}
	parts = append(parts, text)
	if restarted > 0 {
		parts = append(parts, "restart "+api.Count(restarted, "rollout"))
	}
	if terminating > 0 {
		wait := fmt.Sprintf("wait for %d that terminate", terminating)
		if held > 0 {
			wait += fmt.Sprintf(", %d BLOCKED", held)
		}
		parts = append(parts, wait)
	}
	if completing > 0 {
		parts = append(parts, fmt.Sprintf("wait for %d to complete", completing))
	}
	if len(skipped) > 0 {
		var why []string
		for reason, number := range skipped {
			why = append(why, fmt.Sprintf("%d %s", number, reason))
		}
		slices.Sort(why)
		parts = append(parts, "leave "+strings.Join(why, ", "))
	}
	return strings.Join(parts, "; ")
}

// blockers returns the effects of a step that are blocked, each with its remedy.
func blockers(step config.Step, effects []cleanup.Effect) []printer.Blocker {
	var found []printer.Blocker
	for _, effect := range effects {
		if effect.Blocked == nil {
			continue
		}
		found = append(found, printer.Blocker{
			What: effect.Object.String(), Reason: effect.Blocked.Message, Remedy: Remedy(step, effect.Object, *effect.Blocked),
		})
	}
	return found
}

// Remedy returns the next step for a blocked effect, empty if only the message describes one.
func Remedy(step config.Step, object cleanup.Object, blocked cleanup.Blocker) string {
	if blocked.Remedy != "" {
		return blocked.Remedy
	}
	switch blocked.Cause {
	case cleanup.BlockedByOption:
		return fmt.Sprintf("delete it yourself, or set %s: true in the options of step %s", blocked.Option, step.Name)
	case cleanup.BlockedByBudget:
		return fmt.Sprintf("add a replica to the workload, or wait: kubectl -n %s get pdb", object.Namespace)
	case cleanup.BlockedByBudgets:
		return fmt.Sprintf("delete all but one of the budgets that select the pod: kubectl -n %s get pdb", object.Namespace)
	case cleanup.BlockedByController:
		return "remove nodeName from its Pod template, or scale it to 0"
	}
	return ""
}

// unchecked returns a note about Pods whose budgets could not be checked, empty if there are none. The line
// of each other effect says why it could not be checked.
func unchecked(effects []cleanup.Effect) string {
	number := 0
	for _, effect := range effects {
		if effect.Action == cleanup.Evict && effect.Unchecked != "" {
			number++
		}
	}
	if number == 0 {
		return ""
	}
	return fmt.Sprintf("you are not allowed to evict pods, even in a dry run: budgets not checked for %s", api.Count(number, "pod"))
}
