package uninstall

import (
	"fmt"
	"io"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

// describe writes what an uninstall would remove and what it would leave undone.
func describe(out io.Writer, survey *install.Survey) {
	line := func(format string, arguments ...any) { fmt.Fprintf(out, format+"\n", arguments...) }
	line("To be removed, in this order:")
	nodes := func() {
		if survey.Marked > 0 {
			line("  the finalizer and marks on nodes: %d (with the finalizer: %d)", survey.Marked, survey.Protected)
		}
	}
	told, records := false, 0
	for _, object := range survey.Objects {
		if !told && object.AfterNodes() {
			nodes()
			told = true
		}
		if object.Record {
			records++
			continue
		}
		line("  %s", object)
	}
	if records > 0 {
		line("  run records: %d (kubectl nodecleanup history lists them)", records)
	}
	if !told {
		nodes()
	}
	if len(survey.Foreign) > 0 {
		line("Not ours, but goes with namespace %s:", survey.Namespace)
		for _, object := range survey.Foreign {
			line("  %s", object)
		}
	}
	if len(survey.Unseen) > 0 {
		line("Whether others keep these in namespace %s, you are not allowed to see: %s", survey.Namespace, strings.Join(survey.Unseen, ", "))
	}
	if len(survey.Running) > 0 {
		line("Being cleaned up now:")
		for _, running := range survey.Running {
			becomes := "stays, its cleanup ends"
			if running.Deleted {
				becomes = "will be released immediately"
			}
			line("  node/%s: %s; %s", running.Name, becomes, command.UndoneOf(running.Run, running.RunError))
		}
	}
	for _, name := range survey.Cordoned {
		line("Stays cordoned, as the agent left it: node/%s (kubectl uncordon %s)", name, name)
	}
	if survey.Leader != "" {
		line("WARNING: an agent outside the cluster is running (%s): stop it first, or it adds the finalizer again.", survey.Leader)
	}
}
