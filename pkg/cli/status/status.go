// Package status is the command that says how the install is and which nodes
// are being cleaned up.
package status

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/patience"
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
		Short: "Say how the agent is and which nodes are being cleaned up",
		Long: `Say how the agent is, whether new nodes are protected, and which nodes are being
cleaned up. It only reads, and it needs no agent to answer.

The exit code is 0 when everything is fine and 3 when it is not: no agent, no leader,
no webhook, or a node whose cleanup goes on only when somebody acts.

With -w it follows the cluster until it is ended: on a terminal as a picture that
changes, elsewhere as a line for each change.`,
		Example: `  kubectl nodecleanup status

  # Follow the cleanups as they go
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
	cmd.Flags().Lookup("timeout").Usage += "; with -w the time to follow changes (default with -w: no limit)"
	cmd.Flags().BoolVarP(&o.Watch, "watch", "w", false, "Follow the changes")
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	if err := o.ValidateTimeout(); err != nil {
		return err
	}
	if o.Watch && !o.ForPeople() {
		return exit.Usagef("--watch has no output format: for programs, ask again and again, or use kubectl get --watch")
	}
	return o.Output.Validate()
}

// follow shows every change. That its time is over is how it ends, and no error.
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
	follower := &live{client: clients.Typed, namespace: namespace, now: o.ServerTime, reader: inspect.NewReader(clients.Typed, namespace, o.ServerTime), show: show, wait: patience.Wait{Say: func(line string) { o.Say("%s", line) }}}
	err = follower.run(ctx)
	if limited && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil
	}
	return err
}

// Run reads, judges and prints.
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
