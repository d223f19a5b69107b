package command

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Output is the flag -o of a command that prints a view.
type Output struct {
	format string
	forms  []string
}

// AddFlags adds -o.
func (o *Output) AddFlags(cmd *cobra.Command) {
	for _, form := range printer.Forms {
		o.forms = append(o.forms, string(form))
	}
	cmd.Flags().StringVarP(&o.format, "output", "o", o.forms[0], "Output format: "+strings.Join(o.forms, ", "))
}

// Validate refuses a format that there is not.
func (o *Output) Validate() error {
	if slices.Contains(o.forms, o.format) {
		return nil
	}
	return exit.Usagef("unknown output format %q: use -o %s", o.format, strings.Join(o.forms, ", "))
}

// ForPeople reports whether the output is one that people read as it comes.
func (o *Output) ForPeople() bool {
	return o.format == string(printer.Table) || o.format == string(printer.Wide)
}

// Print prints a view to the environment's Out in the format that was chosen.
func (o *Output) Print(environment *Environment, view printer.View) error {
	return printer.Print(environment.Out, printer.Format(o.format), environment.Colour, view)
}
