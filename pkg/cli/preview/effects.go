package preview

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// podLine is a line of the drain's preview: "evict shop/cart-0 (not now: …)".
var podLine = regexp.MustCompile(`^(evict|await|leave|refuse) ([^\s/]+)/(\S+?)(?: \((.*)\))?$`)

// notNow begins the reason of a pod that its budget does not let go.
const notNow = "not now: "

type podVerdict struct{ action, namespace, pod, reason string }

func podVerdicts(lines []string) []podVerdict {
	var verdicts []podVerdict
	for _, line := range lines {
		if match := podLine.FindStringSubmatch(line); match != nil {
			verdicts = append(verdicts, podVerdict{match[1], match[2], match[3], match[4]})
		}
	}
	return verdicts
}

// unknown: whoever asks may not evict, so the API server did not say what the
// pod's budgets allow.
func (v podVerdict) unknown() bool {
	return v.action == "evict" && strings.HasPrefix(v.reason, notNow) && strings.Contains(v.reason, `cannot create resource "pods/eviction"`)
}

func (v podVerdict) blocked() bool {
	return v.action == "refuse" || !v.unknown() && v.action == "evict" && strings.HasPrefix(v.reason, notNow)
}

// fewLines is up to how many effects a summary says one by one.
const fewLines = 2

// summarise says the effects of a step in one line.
func summarise(step config.Step, lines []string) string {
	if step.Plugin == api.DrainPlugin {
		return summariseDrain(lines)
	}
	if len(lines) == 0 {
		return "nothing to do"
	}
	if len(lines) > fewLines {
		return fmt.Sprintf("%s; and %d more", lines[0], len(lines)-1)
	}
	return strings.Join(lines, "; ")
}

func summariseDrain(lines []string) string {
	var parts []string
	if slices.Contains(lines, "cordon") {
		parts = append(parts, "cordon")
	}
	evicted, blocked, awaited, unknown := 0, 0, 0, 0
	left := map[string]int{}
	for _, verdict := range podVerdicts(lines) {
		switch {
		case verdict.blocked():
			blocked++
			evicted++
		case verdict.action == "evict":
			evicted++
			if verdict.unknown() {
				unknown++
			}
		case verdict.action == "await":
			awaited++
		default:
			left[verdict.reason]++
		}
	}
	text := fmt.Sprintf("evict %d pods", evicted)
	if evicted == 1 {
		text = "evict 1 pod"
	}
	if blocked > 0 {
		text += fmt.Sprintf(", %d BLOCKED", blocked)
	}
	if unknown > 0 {
		text += ", budgets not known"
	}
	parts = append(parts, text)
	if awaited > 0 {
		parts = append(parts, fmt.Sprintf("wait for %d that terminate", awaited))
	}
	if len(left) > 0 {
		var why []string
		for reason, number := range left {
			why = append(why, fmt.Sprintf("%d %s", number, reason))
		}
		slices.Sort(why)
		parts = append(parts, "leave "+strings.Join(why, ", "))
	}
	return strings.Join(parts, "; ")
}

// blockers returns what would hold up a step.
func blockers(step config.Step, lines []string) []printer.Blocker {
	if step.Plugin != api.DrainPlugin {
		return nil
	}
	var found []printer.Blocker
	for _, verdict := range podVerdicts(lines) {
		if !verdict.blocked() {
			continue
		}
		found = append(found, printer.Blocker{
			What:   verdict.namespace + "/" + verdict.pod,
			Reason: strings.TrimPrefix(verdict.reason, notNow),
			Remedy: remedy(step, verdict),
		})
	}
	return found
}

var optionNamed = regexp.MustCompile(`\(?option (\w+)\)?`)

func remedy(step config.Step, verdict podVerdict) string {
	if match := optionNamed.FindStringSubmatch(verdict.reason); match != nil {
		return fmt.Sprintf("delete it yourself, or set %s: true in the options of step %s", match[1], step.Name)
	}
	return fmt.Sprintf("scale up what the budget selects, or wait: kubectl -n %s get pdb", verdict.namespace)
}

// unasked says which budgets could not be asked for lack of rights, empty for none.
func unasked(step config.Step, lines []string) string {
	if step.Plugin != api.DrainPlugin {
		return ""
	}
	number := 0
	for _, verdict := range podVerdicts(lines) {
		if verdict.unknown() {
			number++
		}
	}
	if number == 0 {
		return ""
	}
	return fmt.Sprintf("you are not allowed to evict pods, not even as a dry run: whether their budgets let %d go was not asked", number)
}
