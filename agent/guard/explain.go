package guard

import (
	"fmt"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// glassFor is the end that is proposed to whoever has to break the glass.
const glassFor = time.Hour

// questions are what could not be answered where a rule could not be looked at.
var questions = map[Rule]string{
	CriticalPods:    "whether critical pods run on it",
	LastSchedulable: "whether another node takes pods",
	MaxTerminating:  "how many nodes terminate",
}

// explain writes the message and the warnings of a verdict.
func (v *Verdict) explain(settings *config.Config, request Request, now time.Time) {
	name := request.Node.Name
	var clauses []string
	for _, blocker := range v.Blockers {
		clauses = append(clauses, fmt.Sprintf("%s (%s)", blocker.What, blocker.WayOut))
	}
	for _, unread := range v.Unread {
		clause := fmt.Sprintf("%s cannot be told: %v", questions[unread.Rule], unread.Err)
		if settings.Guard.OnReadError != config.Refuse {
			v.Warnings = append(v.Warnings, oneLine(fmt.Sprintf("node %s: %s; its deletion is allowed all the same, as the config says (guard.onReadError)", name, clause)))
			continue
		}
		clauses = append(clauses, clause+" (try again in a moment; guard.onReadError in the config says that a deletion is refused then)")
	}
	if len(clauses) == 0 {
		return
	}
	if v.Allowed {
		v.Warnings = append(v.Warnings, oneLine(fmt.Sprintf("node %s would be kept if nodecleanup were no dry run: %s", name, strings.Join(clauses, "; "))))
		return
	}
	outcome := "was not deleted"
	if request.DryRun {
		outcome = "would not be deleted"
	}
	v.Message = fmt.Sprintf("node %s %s: %s. %s", name, outcome, strings.Join(clauses, "; "), breakGlass(request, now))
}

// breakGlass says how to delete the Node regardless, and why what was done to that end
// does not count.
func breakGlass(request Request, now time.Time) string {
	text := ""
	if _, err := api.BreakGlassOf(request.Node, now); err != nil {
		text = fmt.Sprintf("Its break-glass does not count: %v. ", err)
	}
	return text + fmt.Sprintf(`If it must go regardless, somebody who is allowed the verb "bypass" on nodes can break the glass: kubectl annotate --overwrite node %s %s="WHY" %s=%s`,
		request.Node.Name, api.AnnotationBreakGlass, api.AnnotationBreakGlassUntil, now.Add(glassFor).UTC().Format(time.RFC3339))
}

// busy makes it the verdict about a deletion that was not looked at in time.
func (v *Verdict) busy(request Request) {
	v.Allowed, v.Busy = false, true
	v.Message = fmt.Sprintf("node %s was not deleted: so many deletions of nodes are asked about at once that this one was not looked at in time. Try again in a moment; whoever tries a few at a time gets through", request.Node.Name)
}

// longestWarning keeps a warning in the header in which it travels.
const longestWarning = 1024

// oneLine makes a text fit for a header: no control characters, not too long.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(text) > longestWarning {
		text = strings.ToValidUTF8(text[:longestWarning], "") + "…"
	}
	return text
}
