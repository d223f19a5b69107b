package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
)

// options is the topic that lists the flags of every command, as kubectl options does.
func options(environment *command.Environment) *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "List the flags that every command takes: those of kubectl",
		Long: `List the flags that every command takes. They are those of kubectl, and say which
cluster and as whom; the help of a command shows only those that are needed often.`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := environment.Out.Write([]byte("Every command takes these flags:\n\n" + AllFlags(cmd.Root())))
			return err
		},
	}
}

// AllFlags returns the usage of every flag that all commands inherit, of those too that their
// help leaves out.
func AllFlags(root *cobra.Command) string {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	root.PersistentFlags().VisitAll(func(flag *pflag.Flag) {
		shown := *flag
		shown.Hidden = false
		all.AddFlag(&shown)
	})
	return strings.TrimRight(all.FlagUsages(), "\n") + "\n"
}
