// Package diagnose is the command that explains why a deleted node still exists.
package diagnose

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Output
	command.Timeout

	Node string
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "diagnose NODE",
		Short: "Explain why a deleted node still exists, and what to do",
		Long: `Explain why a deleted node still exists: what has been done, what blocks it, and what to
do, with the most important cause first. It reads the node, its run record, Events, pods,
budgets, volumes and the state of the agent. It changes nothing and works without an
agent. Anything that you cannot read is reported and skipped.

If an operator must act, or a step has been running for more than a minute for an unknown
reason, the exit code is 3. Otherwise, it is 0: the cleanup makes progress, or the node no
longer exists or is not being deleted.`,
		Example: `  kubectl nodecleanup diagnose ip-10-0-7

  # One line for the incident channel
  kubectl nodecleanup diagnose ip-10-0-7 -o short`,
		Args:              command.OneNode,
		ValidArgsFunction: environment.CompleteNode,
		RunE: func(cmd *cobra.Command, arguments []string) error {
			o.Node = command.NodeName(arguments[0])
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.AddFlags(cmd)
	o.AddTimeout(cmd.Flags(), time.Minute)
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	if err := o.ValidateTimeout(); err != nil {
		return err
	}
	return o.Output.Validate()
}

// Run reads, assesses and prints.
func (o *Options) Run(ctx context.Context) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	view, err := Node(ctx, clients.Typed, namespace, o.Node, o.ServerTime)
	if err != nil {
		return err
	}
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	if len(view.Causes) > 0 {
		return exit.Quiet(exit.Unhealthy)
	}
	return nil
}

// Node explains why a deleted node still exists. It reads what it can; only the node itself, or a record of it, must
// be readable. Now is the API server's time.
func Node(ctx context.Context, client kubernetes.Interface, namespace, name string, now func() time.Time) (*printer.Diagnosis, error) {
	found, err := collect(ctx, client, namespace, name, now)
	if err != nil {
		return nil, err
	}
	return assess(found, now()), nil
}
