package command

import (
	"slices"
	"testing"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestOutputFormats(t *testing.T) {
	for format, want := range map[string]int{
		"table": exit.OK, "name": exit.OK, "kyaml": exit.OK, "jsonpath={.nodes[*].name}": exit.OK, "custom-columns=NAME:.name": exit.OK,
		"xml": exit.Usage, "": exit.Usage, "jsonpath": exit.Usage, "jsonpath=": exit.Usage, "jsonpath={.nodes": exit.Usage, "jsonpath-file=/does/not/exist": exit.Usage,
		"custom-columns=NAME": exit.Usage, "custom-columns=": exit.Usage, "custom-columns=NAME:{.name": exit.Usage, "custom-columns-file=/does/not/exist": exit.Usage,
		"go-template={{.}}": exit.Usage,
	} {
		output := Output{format: format}
		if err := output.Validate(); exit.Code(t.Context(), err) != want {
			t.Errorf("-o %s: %v", format, err)
		}
	}
}

func TestOutputFormatsAreCompleted(t *testing.T) {
	cmd, output := &cobra.Command{}, Output{}
	output.AddFlags(cmd)
	complete, found := cmd.GetFlagCompletionFunc("output")
	if !found {
		t.Fatal("-o has no completion")
	}
	formats, directive := complete(cmd, nil, "")
	if !slices.Contains(formats, "custom-columns=") || !slices.Contains(formats, "yaml") || directive&cobra.ShellCompDirectiveNoSpace == 0 {
		t.Errorf("completed to %q, %d", formats, directive)
	}
}
