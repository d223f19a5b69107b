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
		Short: "List the kubectl flags that every command accepts",
		Long: `List the kubectl flags that every command accepts. They select the cluster and the user.
The help of a command shows only the most common ones.`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := environment.Out.Write([]byte("Every command accepts these flags:\n\n" + AllFlags(cmd.Root())))
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
