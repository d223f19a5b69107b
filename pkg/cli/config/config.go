// Package config holds the commands that show, validate and change the config.
package config

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
)

// Options of the commands.
type Options struct {
	*command.Environment
	command.Output
	// Catalog returns the plugins of the released agent.
	Catalog func() []cleanup.Descriptor

	AllowUnknownPlugins bool
	// Accepted prints the config that the agent accepted last.
	Accepted bool
}

// New returns the command with its sub-commands. The catalog lists the plugins of the released agent.
func New(environment *command.Environment, catalog func() []cleanup.Descriptor) *cobra.Command {
	parent := &cobra.Command{
		Use:   "config",
		Short: "Show, validate and change the config",
		Args:  command.NoArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, newCommand := range []func(*Options) *cobra.Command{newView, newEdit, newValidate, newDiff} {
		parent.AddCommand(newCommand(&Options{Environment: environment, Catalog: catalog}))
	}
	return parent
}

// oneFile wants the name of one file, or "-" for stdin.
func oneFile(cmd *cobra.Command, arguments []string) error {
	if len(arguments) != 1 || arguments[0] == "" {
		return exit.Usagef("%s takes the name of one file, or - for stdin", cmd.CommandPath())
	}
	return nil
}

// read returns the content of a file, or of stdin if its name is "-".
func (o *Options) read(file string) ([]byte, error) {
	if file == "-" {
		data, err := io.ReadAll(o.In)
		if err != nil {
			return nil, fmt.Errorf("reading the config from stdin: %w", err)
		}
		return data, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, &exit.Error{Code: exit.Usage, Err: fmt.Errorf("reading the config: %w", err)}
	}
	return data, nil
}

// check returns the faults of a config as one error, and prints its warnings.
func (o *Options) check(data []byte, file string, catalog preview.Catalog) error {
	settings, err := catalog.Parse(data)
	if err != nil {
		return &exit.Error{Code: exit.Failure, Err: fmt.Errorf("validating the config %s:%w", file, preview.Indented{Err: err}), Next: "Fix the lines above."}
	}
	o.SayWarnings(settings)
	return nil
}
