package guard

import (
	"fmt"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
)

// glassFor is how long the proposed break-glass command is valid.
const glassFor = time.Hour

// explain writes the message and the warnings of a verdict.
func (v *Verdict) explain(settings *config.Config, deletion Deletion, now time.Time) {
	name := deletion.Name
	var clauses []string
	for _, blocker := range v.Blockers {
		clauses = append(clauses, fmt.Sprintf("%s (%s)", blocker.What, blocker.Next))
	}
	answer := "allowed"
	if len(v.Blockers) > 0 {
		answer = "ignored"
	}
	for _, unread := range v.Unread {
		if settings.Guard.OnReadError != config.Refuse {
			v.Warnings = append(v.Warnings, oneLine(fmt.Sprintf("node %s: %s; %s because guard.onReadError=allow", name, unread.clause(), answer)))
			continue
		}
		clauses = append(clauses, unread.clause()+" (retry; denied because guard.onReadError=refuse)")
	}
	if len(clauses) == 0 {
		return
	}
	if v.Allowed {
		v.Warnings = append(v.Warnings, oneLine(fmt.Sprintf("node %s: dry run: this deletion would have been denied: %s", name, strings.Join(clauses, "; "))))
		return
	}
	outcome := "was not deleted"
	if deletion.DryRun {
		outcome = "would not be deleted"
	}
	v.Message = fmt.Sprintf("node %s %s: %s. %s", name, outcome, strings.Join(clauses, "; "), breakGlass(deletion, now))
}

// clause says what could not be evaluated, and why.
func (u Unread) clause() string {
	if u.Rule == Protect {
		return fmt.Sprintf("cannot read the node: %v", access.Explain(u.Err))
	}
	return fmt.Sprintf("cannot evaluate guard.%s: %v", u.Rule, access.Explain(u.Err))
}

// breakGlass says how to delete the Node in an emergency, and why the break-glass annotations
// that it has are not valid.
func breakGlass(deletion Deletion, now time.Time) string {
	if deletion.Node == nil {
		return "Break-glass has no effect until the agent can read nodes: kubectl nodecleanup check names the missing right or the fault"
	}
	text := ""
	if _, err := api.BreakGlassOf(deletion.Node, now); err != nil {
		text = fmt.Sprintf("Its break-glass annotations are not valid: %v. ", err)
	}
	return text + fmt.Sprintf(`In an emergency, a user with the verb "bypass" on nodes can break the glass: kubectl annotate --overwrite node %s %s="WHY" %s=%s`,
		deletion.Name, api.AnnotationBreakGlass, api.AnnotationBreakGlassUntil, now.Add(glassFor).UTC().Format(time.RFC3339))
}

// busy is the verdict for a deletion that the guard did not evaluate in time because of other deletions.
func busy(request Request) Verdict {
	return Verdict{Busy: true, Message: fmt.Sprintf("node %s was not deleted: too many node deletions at once; retry with fewer", request.Name)}
}

// maxWarning is the length of a warning in bytes: it travels in a header.
const maxWarning = 1024

// oneLine makes a text fit into a header: no control characters, not too long.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	return truncate.Bytes(text, maxWarning)
}
