package command

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Output is the flag -o of a command that prints a view.
type Output struct {
	format string
}

// AddFlags adds -o.
func (o *Output) AddFlags(cmd *cobra.Command) {
	AddOutput(cmd, &o.format, string(printer.Table), printer.Formats(), "")
}

// AddOutput adds -o with its formats, which the shell completes.
func AddOutput(cmd *cobra.Command, format *string, initial string, formats []string, more string) {
	cmd.Flags().StringVarP(format, "output", "o", initial, "Output format: "+strings.Join(withArguments(formats), ", ")+more)
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		// The argument of jsonpath= follows without a space.
		return formats, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	if err := cmd.RegisterFlagCompletionFunc("output", complete); err != nil {
		panic(err) // The flag was added above.
	}
}

// withArguments shows where a format takes an argument.
func withArguments(formats []string) []string {
	var shown []string
	for _, format := range formats {
		if strings.HasSuffix(format, "=") {
			format += "..."
		}
		shown = append(shown, format)
	}
	return shown
}

// Validate refuses a format that there is not, or whose expression is wrong.
func (o *Output) Validate() error { return CheckFormat(o.format, printer.Formats()) }

// CheckFormat refuses a format that there is not, or whose expression is wrong.
func CheckFormat(format string, formats []string) error {
	if err := printer.Format(format).Validate(); err != nil {
		return exit.Usagef("--output %s: %w; use one of: %s", format, err, strings.Join(withArguments(formats), ", "))
	}
	return nil
}

// ForPeople reports whether the output is one that people read as it comes.
func (o *Output) ForPeople() bool {
	return o.format == string(printer.Table) || o.format == string(printer.Wide)
}

// Print prints a view to the environment's Out in the format that was chosen.
func (o *Output) Print(environment *Environment, view printer.View) error {
	return printer.Print(environment.Out, printer.Format(o.format), environment.Colour, view)
}
