package command

import (
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// longestReason keeps a reason readable where it is shown: condition, Event, record, status.
const longestReason = 512

// CleanReason returns the value of --reason without surrounding space. It must be one line.
func CleanReason(reason string) (string, error) {
	reason = strings.TrimSpace(reason)
	if len(reason) > longestReason || strings.ContainsAny(reason, "\r\n") {
		return "", exit.Usagef("--reason must be one line of at most %d bytes", longestReason)
	}
	return reason, nil
}
