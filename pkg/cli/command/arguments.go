package command

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// NoArguments refuses arguments.
func NoArguments(cmd *cobra.Command, arguments []string) error {
	if len(arguments) > 0 {
		return exit.Usagef("%s takes no arguments, got %q", cmd.CommandPath(), strings.Join(arguments, " "))
	}
	return nil
}

// OneNode wants the name of one Node.
func OneNode(cmd *cobra.Command, arguments []string) error {
	if len(arguments) != 1 || strings.TrimSpace(arguments[0]) == "" {
		return exit.Usagef("%s takes the name of one node, got %q", cmd.CommandPath(), strings.Join(arguments, " "))
	}
	return nil
}

// AtMostOneNode takes the name of one Node, or none for all.
func AtMostOneNode(cmd *cobra.Command, arguments []string) error {
	if len(arguments) > 1 {
		return exit.Usagef("%s takes the name of one node at most, got %q", cmd.CommandPath(), strings.Join(arguments, " "))
	}
	return nil
}
