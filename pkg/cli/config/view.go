package config

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func newView(o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "view",
		Short: "Print the config on the cluster",
		Long: `Print the config on the cluster as it is stored, with its comments. The agent may not use
it yet, or may have rejected it: see "status".

With an output format other than table, the command omits the comments.`,
		Example: `  kubectl nodecleanup config view > nodecleanup.yaml

  # The names of the steps
  kubectl nodecleanup config view -o jsonpath='{.steps[*].name}'`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.view(cmd.Context())
		},
	}
	o.AddFlags(cmd)
	return cmd
}

func (o *Options) view(ctx context.Context) error {
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	stored, err := preview.ReadConfig(ctx, clients.Typed, namespace)
	if err != nil {
		return err
	}
	text := stored.Data[api.ConfigKey]
	if o.ForPeople() {
		if o.Terminal {
			text = printer.CleanLines(text)
		}
		_, err := fmt.Fprint(o.Out, text)
		return err
	}
	view := printer.StoredConfig{Name: "configmap/" + api.ConfigName}
	if err := yaml.Unmarshal([]byte(text), &view.Content); err != nil {
		return &exit.Error{Code: exit.Failure, Err: fmt.Errorf("decoding the config: %w", err), Next: "See its text: kubectl nodecleanup config view"}
	}
	return o.Print(o.Environment, view)
}
