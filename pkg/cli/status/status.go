// Package status is the command that shows agent health and ongoing cleanups.
package status

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Output
	command.Timeout

	Watch bool
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show agent health and ongoing cleanups",
		Long: `Show agent health, whether new nodes are protected, and the nodes that are being
cleaned up. The command only reads, and works without an agent.

The exit code is 3 if the agent, admission, the delete guard, the config or the plugin of
a critical step is unhealthy, if cleanups are paused, or if a cleanup needs an operator.
Otherwise, it is 0.

With -w it follows the cluster until Ctrl-C: on a terminal as a live view, elsewhere
with one line for each change.`,
		Example: `  kubectl nodecleanup status

  # Follow the cleanups
  kubectl nodecleanup status -w

  # In a script
  kubectl nodecleanup status -o json | jq '.cleanups[] | select(.stuck)'`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			if o.Watch {
				return o.follow(cmd.Context(), cmd.Flags().Changed("timeout"))
			}
			return o.Run(cmd.Context())
		},
	}
	o.AddFlags(cmd)
	o.AddTimeout(cmd.Flags(), time.Minute)
	cmd.Flags().Lookup("timeout").Usage += ". With -w: the time to follow changes, without a limit unless you set it"
	cmd.Flags().BoolVarP(&o.Watch, "watch", "w", false, "Follow the changes")
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	if err := o.ValidateTimeout(); err != nil {
		return err
	}
	if o.Watch && !o.ForPeople() {
		return exit.Usagef("--watch has no output format: in a script, run status repeatedly, or use kubectl get --watch")
	}
	return o.Output.Validate()
}

// follow shows every change. It ends by its timeout or by Ctrl-C, which are not errors.
func (o *Options) follow(ctx context.Context, limited bool) error {
	if limited {
		var cancel context.CancelFunc
		ctx, cancel = o.WithTimeout(ctx)
		defer cancel()
	}
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	show := lines(o.Environment)
	if o.Terminal {
		show = screen(o.Environment)
	}
	follower := &live{client: clients.Typed, namespace: namespace, now: o.ServerTime, show: show, report: func(line string) { o.Say("%s", line) }}
	return ended(ctx, follower.run(ctx))
}

// ended returns the error of a follower, nil if its time has passed. After Ctrl-C, only the exit
// code reports the interrupt.
func ended(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil
	case ctx.Err() != nil:
		return exit.Quiet(exit.Failure)
	}
	return err
}

// Run reads, assesses and prints.
func (o *Options) Run(ctx context.Context) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	seen, err := inspect.NewReader(clients.Typed, namespace, o.ServerTime).All(ctx)
	if err != nil {
		return err
	}
	view := inspect.Assess(seen, version.Version, o.ServerTime())
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	if !view.Healthy {
		return exit.Quiet(exit.Unhealthy)
	}
	return nil
}
