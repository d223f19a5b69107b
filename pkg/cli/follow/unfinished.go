package follow

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// unfinished is the error of a wait that ended before the cleanup, by its timeout or by Ctrl-C. It
// names the state of the cleanup.
func unfinished(name string, last Snapshot, code int, why string) *exit.Error {
	where, next := "no agent has started it", ""
	switch {
	case last.Undecodable != nil && last.Node != nil:
		record := command.UndecodableOf(last.Node, last.Undecodable, last.NoLeader)
		where, next = record.What, record.Next
	case last.Run != nil:
		where = strings.TrimSuffix("it is "+string(last.Run.State)+": "+last.Run.Message, ": ")
	}
	return &exit.Error{Code: code, Err: fmt.Errorf("waiting for the cleanup of node %s: %s; %s", name, why, where), Next: next}
}

// Unfinished returns the error of a wait that ended before the cleanup, or nil.
func Unfinished(err error) *exit.Error {
	var ended *exit.Error
	if errors.As(err, &ended) && (ended.Code == exit.TimedOut || ended.Code == exit.Interrupted) {
		return ended
	}
	return nil
}
