package config

import (
	"cmp"
	"context"
	"fmt"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func newDiff(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "diff FILE",
		Short: "Compare the config on the cluster with a file",
		Long: `Compare the config on the cluster with a file, line by line. The command first validates
the file against the plugins of the agent. It changes nothing. With "-" it reads stdin.

The exit code is 0 when both are the same, 1 when they differ, and 2 or more after an
error, as with kubectl diff.`,
		Example: `  kubectl nodecleanup config diff nodecleanup.yaml

  # Apply it
  kubectl nodecleanup install --config nodecleanup.yaml`,
		Args: oneFile,
		RunE: func(cmd *cobra.Command, arguments []string) error {
			return notAsDifference(o.diff(cmd.Context(), arguments[0]))
		},
	}
}

// notAsDifference returns an error with the exit code 2 in place of 1, which says that the configs differ.
func notAsDifference(err error) error {
	if err == nil || exit.IsQuiet(err) || exit.Code(context.Background(), err) != exit.Failure {
		return err
	}
	return &exit.Error{Code: exit.Usage, Err: err, Next: cmp.Or(command.Next(err), "See the state of the install: kubectl nodecleanup status")}
}

func (o *Options) diff(ctx context.Context, file string) error {
	data, err := o.read(file)
	if err != nil {
		return err
	}
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	if err := o.check(data, file, preview.ReadCatalog(ctx, clients.Typed, namespace, o.Catalog())); err != nil {
		return err
	}
	stored, err := preview.ReadConfig(ctx, clients.Typed, namespace)
	if err != nil {
		return err
	}
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(stored.Data[api.ConfigKey]), B: difflib.SplitLines(string(data)),
		FromFile: "on the cluster: configmap/" + api.ConfigName, ToFile: file, Context: 3,
	})
	if err != nil {
		return fmt.Errorf("comparing the configs: %w", err)
	}
	if text == "" {
		o.Say("The config on the cluster is the same.")
		return nil
	}
	fmt.Fprint(o.Out, printer.CleanLines(text))
	return exit.Quiet(exit.Failure)
}
