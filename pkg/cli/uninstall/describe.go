package uninstall

import (
	"fmt"
	"io"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
)

// describe prints the objects that an uninstall would remove, and the parts that would remain.
func describe(out io.Writer, survey *install.Survey) {
	line := func(format string, arguments ...any) { fmt.Fprintf(out, format+"\n", arguments...) }
	line("To be removed, in this order:")
	nodes := func() {
		if survey.Marked > 0 {
			line("  the finalizer and marks on nodes: %d (with the finalizer: %d)", survey.Marked, survey.Protected)
		}
	}
	written, records := false, 0
	for _, object := range survey.Objects {
		if !written && object.AfterNodes() {
			nodes()
			written = true
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
	if !written {
		nodes()
	}
	if len(survey.Foreign) > 0 {
		line("Not part of nodecleanup, but deleted with namespace %s:", survey.Namespace)
		foreign, more := command.Bounded(survey.Foreign)
		for _, object := range foreign {
			line("  %s", object)
		}
		if more > 0 {
			line("  and %s", api.Count(more, "more object"))
		}
	}
	if len(survey.Unseen) > 0 {
		line("Namespace %s may contain other objects of these kinds, which you are not allowed to list: %s", survey.Namespace, strings.Join(survey.Unseen, ", "))
	}
	running, more := command.Bounded(survey.Running)
	if len(running) > 0 {
		line("%s", header(survey))
	}
	for _, one := range running {
		becomes := "the node stays, and its cleanup ends"
		if one.Deleted {
			becomes = "will be released immediately"
		}
		line("  node/%s: %s; %s", one.Name, becomes, command.UndoneOf(one.Run, one.RunError))
	}
	if more > 0 {
		line("  and %s", api.Count(more, "more node"))
	}
	cordoned, more := command.Bounded(survey.Cordoned)
	for _, name := range cordoned {
		line("Stays cordoned: node/%s (kubectl uncordon %s)", name, name)
	}
	if more > 0 {
		line("Other nodes that stay cordoned: %d", more)
	}
}

// header names the nodes whose cleanups end with the uninstall.
func header(survey *install.Survey) string {
	if survey.Installed() {
		return "Being cleaned up now:"
	}
	return "Being cleaned up, but no agent is installed to continue the cleanup:"
}
