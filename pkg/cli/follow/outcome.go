package follow

import (
	"fmt"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// Settled reports whether a requested cleanup has ended. It returns true when every step is done
// and nodecleanup no longer holds the node. It returns an error if the cleanup ended otherwise, or
// if it needs an operator. answered reports whether the record belongs to the request; an earlier
// record does not count.
//
// A deleted node is not necessarily cleaned up: the record decides.
func Settled(now Snapshot, name string, answered func(*api.Run) bool) (bool, error) {
	if now.Node == nil && now.Undecodable != nil {
		record := command.UndecodableOfDeletedNode(now.Undecodable)
		return true, failure(exit.Failure, name, "the node is deleted, and it is not known whether its cleanup was completed: "+record.What, record.Next)
	}
	if now.Node == nil {
		return true, outcomeOfDeleted(now.Run, name)
	}
	if now.Undecodable != nil {
		record := command.UndecodableOf(now.Node, now.Undecodable, now.NoLeader)
		if !record.Paused {
			return false, nil
		}
		return false, failure(exit.Blocked, name, record.What, record.Next)
	}
	if now.Run == nil || !answered(now.Run) {
		return false, nil
	}
	fail := func(code int, state, next string) error {
		return failure(code, name, strings.TrimSuffix(state+": "+now.Run.Message, ": "), next)
	}
	switch now.Run.State {
	case api.Succeeded:
		if now.Run.DryRun {
			return false, previewed(name)
		}
		// One that is being deleted is still to be released, and to go.
		return now.Node.DeletionTimestamp == nil || !api.HasFinalizer(now.Node), nil
	case api.Bypassed:
		return false, bypassed(now.Run, name)
	case api.Failed:
		if now.Run.FinishedAt != nil && len(api.OtherFinalizers(now.Node)) == 0 {
			return true, outcomeOfDeleted(now.Run, name) // The watch of the node will report the deletion.
		}
		return false, fail(exit.Unhealthy, "failed", "Find out why: kubectl nodecleanup diagnose "+name)
	case api.Blocked:
		return false, fail(exit.Blocked, "blocked", "Find out why: kubectl nodecleanup diagnose "+name)
	case api.Canceled:
		if now.Run.Refused {
			return false, failure(exit.Failure, name, now.Run.Message, "Show the current plan: kubectl nodecleanup plan "+name)
		}
		return false, fail(exit.Failure, "canceled", "To request the cleanup again: kubectl nodecleanup cleanup "+name)
	}
	return false, nil
}

// outcomeOfDeleted returns an error if a node was deleted without a completed cleanup.
func outcomeOfDeleted(run *api.Run, name string) error {
	const next = "Show the run records: kubectl nodecleanup history "
	switch {
	case run == nil:
		return failure(exit.Failure, name, "the node is deleted, and there is no record of a cleanup", next+name)
	case run.State == api.Succeeded && run.DryRun:
		return previewed(name)
	case run.State == api.Succeeded:
		return nil
	case run.State == api.Bypassed:
		return bypassed(run, name)
	case !run.State.Known():
		return failure(exit.Failure, name, fmt.Sprintf("the node is deleted, and it is not known whether its cleanup was completed: %s", command.Newer(run)), "Upgrade the CLI, then: kubectl nodecleanup history "+name+" -o wide")
	}
	return failure(exit.Failure, name, fmt.Sprintf("the node is deleted without a completed cleanup: another client removed the finalizer while the cleanup was %s; %s", run.State, command.Undone(run)), next+name+" -o wide")
}

func bypassed(run *api.Run, name string) error {
	why := ""
	if who := run.Bypasser(); who != "" {
		why = " by " + who
	}
	if run.BypassReason != "" {
		why += fmt.Sprintf(" (%s)", run.BypassReason)
	}
	return failure(exit.Failure, name, fmt.Sprintf("bypassed%s; %s", why, command.Undone(run)), "Show the completed steps: kubectl nodecleanup history "+name+" -o wide")
}

func previewed(name string) error {
	return failure(exit.Failure, name, "dryRun is true in the config, so the agent ran no step", "Show what the steps would do: kubectl nodecleanup plan "+name+". To run them, remove dryRun from the config.")
}

func failure(code int, name, what, next string) error {
	return &exit.Error{Code: code, Err: fmt.Errorf("cleaning up node %s: %s", name, what), Next: next}
}
