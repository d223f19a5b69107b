package config

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

func newValidate(o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate FILE",
		Short: "Validate a config file without a cluster",
		Long: `Validate a config file and print every fault with its line. Use it in CI: the command
contacts no cluster. With "-" it reads stdin.

The command knows the plugins of the released agent. A plugin that only a custom agent has
is a fault, unless you set --allow-unknown-plugins; then it is a warning, and nothing checks
its options. The command also warns about steps whose order is valid but probably not
intended. To validate against the plugins of the running agent, use "config diff".

The exit code is 1 when the config has a fault.`,
		Example: `  kubectl nodecleanup config validate nodecleanup.yaml

  # The config in the values of a Helm release
  helm get values nodecleanup --all -o json | jq '.config + {apiVersion: "nodecleanup.io/v1alpha1", kind: "Config"}' |
    kubectl nodecleanup config validate -`,
		Args: oneFile,
		RunE: func(_ *cobra.Command, arguments []string) error { return o.validate(arguments[0]) },
	}
	cmd.Flags().BoolVar(&o.AllowUnknownPlugins, "allow-unknown-plugins", false, "Only warn about plugins that this CLI does not have: a custom agent may have them")
	return cmd
}

func (o *Options) validate(file string) error {
	data, err := o.read(file)
	if err != nil {
		return err
	}
	err = o.check(data, file, preview.Catalog{Plugins: o.Catalog()})
	var faults config.Errors
	switch only := errors.As(err, &faults) && faults.OnlyUnknown(); {
	case only && o.AllowUnknownPlugins:
		o.Say("WARNING: this CLI does not have every plugin of the config. The agent refuses the config if it does not have them either:%v", preview.Indented{Err: faults})
	case only:
		return &exit.Error{Code: exit.Failure, Err: err, Next: "Fix the lines above. If a custom agent has these plugins: --allow-unknown-plugins"}
	case err != nil:
		return err
	}
	fmt.Fprintf(o.Out, "%s is valid\n", file)
	return nil
}
