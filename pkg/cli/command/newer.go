package command

import (
	"fmt"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Newer says that a newer version wrote a run record, and which of its states this CLI does
// not know. It is empty if the CLI knows them all: what else is new is only ignored.
func Newer(run *api.Run) string {
	if run == nil {
		return ""
	}
	unknown := run.UnknownStates()
	if len(unknown) == 0 {
		return ""
	}
	return fmt.Sprintf("a newer version wrote run record %s: this CLI does not know %s; upgrade it", api.RunName(run.Node, run.NodeUID), strings.Join(unknown, ", "))
}
