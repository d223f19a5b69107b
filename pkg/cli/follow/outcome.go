package follow

import (
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// Settled reports whether a cleanup that was asked for has come to an end:
// true when nothing holds the node any longer, an error when it goes on only if
// somebody acts. answered says whether the record answers what was asked; until
// it does, what it says is about something before.
func Settled(now Cleanup, name string, answered func(*api.Run) bool) (bool, error) {
	if now.Node == nil {
		return true, nil
	}
	if now.Run == nil || !answered(now.Run) {
		return false, nil
	}
	fail := func(code int, state, next string) error {
		return &exit.Error{
			Code: code,
			Err:  fmt.Errorf("cleaning up node %s: %s: %s", name, state, now.Run.Message),
			Next: next,
		}
	}
	switch now.Run.State {
	case api.Succeeded, api.Bypassed:
		// One that is being deleted is still to be released, and to go.
		return now.Node.DeletionTimestamp == nil || !api.HasFinalizer(now.Node), nil
	case api.Failed:
		return false, fail(exit.Unhealthy, "failed", "Find out why: kubectl nodecleanup diagnose "+name)
	case api.Blocked:
		return false, fail(exit.Blocked, "blocked", "Find out why: kubectl nodecleanup diagnose "+name)
	case api.Canceled:
		return false, fail(exit.Failure, "given up", "Ask for it again when you want it: kubectl nodecleanup cleanup "+name)
	}
	return false, nil
}
