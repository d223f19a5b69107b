package command

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Output is the flag -o of a command that prints a view.
type Output struct {
	format string
}

// views is what -o may be for a view.
var views = []string{string(printer.Table), string(printer.JSON), string(printer.YAML)}

// AddFlags adds -o.
func (o *Output) AddFlags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.format, "output", "o", views[0], "Output format: "+strings.Join(views, ", "))
}

// Validate refuses a format that there is not.
func (o *Output) Validate() error {
	for _, known := range views {
		if o.format == known {
			return nil
		}
	}
	return exit.Usagef("unknown output format %q: use -o %s", o.format, strings.Join(views, ", "))
}

// Print prints a view to the environment's Out in the format that was chosen.
func (o *Output) Print(environment *Environment, view printer.View) error {
	return printer.Print(environment.Out, printer.Format(o.format), environment.Colour, view)
}
