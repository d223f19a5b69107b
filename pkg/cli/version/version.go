// Package version is the command that shows the versions of the CLI and the agent.
package version

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Output
	command.Timeout

	ClientOnly bool
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of the CLI and the agent, and whether they are compatible",
		Long: `Show the CLI and agent versions and whether they are compatible. The agent version is
that of the current or last leader. Versions are compatible if the minor version is the
same, such as v1.2.0 and v1.2.7: a newer one may write what an older one cannot read.
If they are not compatible, the exit code is 3.`,
		Example: `  # Both versions
  kubectl nodecleanup version

  # Only the CLI version, without a cluster
  kubectl nodecleanup version --client -o json`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	o.AddFlags(cmd)
	flags.BoolVar(&o.ClientOnly, "client", false, "Show only the CLI's version, without a cluster")
	o.AddTimeout(flags, 10*time.Second)
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	if err := o.ValidateTimeout(); err != nil {
		return err
	}
	return o.Output.Validate()
}

// Run prints the versions. The CLI's is printed also when the agent's cannot be
// read, which is an error then.
func (o *Options) Run(ctx context.Context) error {
	view := printer.NewVersion(version.Version)
	if o.ClientOnly {
		return o.Print(o.Environment, view)
	}
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	agent, failure := o.agentVersion(ctx)
	if view.Agent = agent; agent != "" {
		fits := version.Fits(version.Version, agent)
		view.Fits = &fits
	}
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	if failure != nil {
		return fmt.Errorf("asking for the agent's version: %w", failure)
	}
	if view.Fits != nil && !*view.Fits {
		return exit.Quiet(exit.Unhealthy)
	}
	return nil
}

func (o *Options) agentVersion(ctx context.Context) (string, error) {
	clients, err := o.Cluster.Clients()
	if err != nil {
		return "", err
	}
	namespace, err := o.Cluster.Namespace(ctx, clients.Typed)
	if err != nil {
		return "", err
	}
	status, err := cluster.AgentStatus(ctx, clients.Typed, namespace)
	if err != nil || status == nil {
		return "", err
	}
	return status.Version, nil
}
