package guard

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// event is the content of an Event. Each kind is one function below.
type event struct{ kind, reason, message string }

func deletionRefused(request Request, verdict Verdict) event {
	var why []string
	for _, blocker := range verdict.Blockers {
		why = append(why, blocker.What)
	}
	for _, unread := range verdict.Unread {
		why = append(why, unread.clause())
	}
	return event{corev1.EventTypeWarning, "DeletionRefused", oneLine(fmt.Sprintf("The delete guard denied the node deletion requested by %s: %s", userOf(request), strings.Join(why, "; ")))}
}

func glassBroken(request Request, glass api.BreakGlass) event {
	return event{corev1.EventTypeWarning, "BreakGlass", oneLine(fmt.Sprintf("Break-glass allowed the deletion of the node by %s. Reason: %s", userOf(request), glass.Reason))}
}

// userOf is the user of a request for people.
func userOf(request Request) string {
	return api.Deletion{User: request.User, Verified: request.Verified}.String()
}
