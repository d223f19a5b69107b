package config

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func newView(o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "view",
		Short: "Print the config on the cluster",
		Long: `Print the config on the cluster as it is stored, with its comments. The agent may not use
it yet, or may have rejected it: see "status". With --accepted, the command prints the
config that the agent accepted last, even if the config was deleted or changed since.

With an output format other than table, the command omits the comments.`,
		Example: `  kubectl nodecleanup config view > nodecleanup.yaml

  # Restore the config that the agent accepted last
  kubectl nodecleanup config view --accepted | kubectl nodecleanup install --config -

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
	cmd.Flags().BoolVar(&o.Accepted, "accepted", false, "Print the config that the agent accepted last")
	return cmd
}

func (o *Options) view(ctx context.Context) error {
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	text, name := "", api.ConfigName
	if o.Accepted {
		name = api.StatusName
		text, err = accepted(ctx, clients.Typed, namespace)
	} else {
		text, err = stored(ctx, clients.Typed, namespace)
	}
	if err != nil {
		return err
	}
	if o.ForPeople() {
		if o.Terminal {
			text = printer.CleanLines(text)
		}
		_, err := fmt.Fprint(o.Out, text)
		return err
	}
	view := printer.StoredConfig{Name: "configmap/" + name}
	if err := yaml.Unmarshal([]byte(text), &view.Content); err != nil {
		return &exit.Error{Code: exit.Failure, Err: fmt.Errorf("decoding the config: %w", err), Next: "See its text: kubectl nodecleanup config view"}
	}
	return o.Print(o.Environment, view)
}

func stored(ctx context.Context, client kubernetes.Interface, namespace string) (string, error) {
	configMap, err := preview.ReadConfig(ctx, client, namespace)
	if err != nil {
		return "", err
	}
	return configMap.Data[api.ConfigKey], nil
}

// accepted returns the config that the agent accepted last.
func accepted(ctx context.Context, client kubernetes.Interface, namespace string) (string, error) {
	status, err := cluster.AgentStatus(ctx, client, namespace)
	switch {
	case err != nil:
		return "", err
	case status == nil || status.AcceptedConfig == "":
		return "", &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("reading the config that the agent accepted last: configmap %s/%s has no key %s", namespace, api.StatusName, api.AcceptedConfigKey),
			Next: "Print the config on the cluster: kubectl nodecleanup config view",
		}
	}
	return status.AcceptedConfig, nil
}
