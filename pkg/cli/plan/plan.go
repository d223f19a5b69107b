// Package plan is the command that shows the plan of a cleanup.
package plan

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Output
	command.Timeout
	command.Nodes
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:     "plan NODE... | -l SELECTOR",
		Aliases: []string{"dry-run"},
		Short:   "Show what a cleanup would do; changes nothing",
		Long: `Show what a cleanup would do: its steps in waves, the pods with their budgets, the
volumes, and what would block it, such as rights that the agent lacks, a critical step
that failed its last health check, or that no agent is the leader. The command changes
nothing, and checks budgets by dry-run evictions. It uses your own rights and the config
on the cluster, and asks no agent.

The first line has the hash of the plan, for "cleanup NODE --plan HASH". The hash covers
the node, the config, the steps, and the pods and volumes with what happens to each. If
you may not read the pods, the plan has no hash.

With several nodes or -l it shows one line for each node, and each plan in full with
-o wide. The exit code is 4 when something would block a cleanup.`,
		Example: `  kubectl nodecleanup plan ip-10-0-7

  # What would happen to each pod
  kubectl nodecleanup plan ip-10-0-7 -o wide

  # Can a whole rack be deleted?
  kubectl nodecleanup plan -l topology.kubernetes.io/rack=r7`,
		Args:              o.Arguments,
		ValidArgsFunction: environment.CompleteNodes,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.AddFlags(cmd)
	o.AddSelector(cmd.Flags())
	o.AddTimeout(cmd.Flags(), 2*time.Minute)
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	if err := o.ValidateTimeout(); err != nil {
		return err
	}
	return o.Output.Validate()
}

// Run plans and prints.
func (o *Options) Run(ctx context.Context) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	nodes, err := o.Read(ctx, clients.Typed)
	if err != nil {
		return err
	}
	previewer, err := preview.Load(ctx, clients.Typed, namespace, o.ServerTime)
	if err != nil {
		return err
	}
	results := o.NewResults(len(nodes) > 1)
	var plans []*printer.Plan
	for _, planned := range previewer.Plans(ctx, results, nodes) {
		planned.Plan.Bypass = inspect.Bypass(planned.Node, o.ServerTime())
		plans = append(plans, planned.Plan)
	}
	if len(plans) == 0 {
		return results.Err()
	}
	if err := rights.BlockPlans(ctx, clients.Typed, namespace, o.ServerTime, previewer.Settings(), plans...); err != nil {
		return err
	}
	blocked := slices.ContainsFunc(plans, func(plan *printer.Plan) bool { return len(plan.Blocked) > 0 })
	var view printer.View = printer.NewPlanList(plans)
	if o.One() {
		view = plans[0]
	}
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	if blocked {
		results.Failed(exit.Quiet(exit.Blocked))
	}
	return results.Err()
}
