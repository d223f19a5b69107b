// Package plan is the command that shows what a cleanup would do.
package plan

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// plansAtOnce bounds the load: each plan asks for the pods of a node and, for
// each pod, for an eviction that is a dry run.
const plansAtOnce = 8

// Options of the command.
type Options struct {
	*command.Environment
	command.Output
	command.Timeout

	// Node, or a Selector for many.
	Node     string
	Selector string
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:     "plan NODE | -l SELECTOR",
		Aliases: []string{"dry-run"},
		Short:   "Show what a cleanup would do; changes nothing",
		Long: `Show what a cleanup would do: its steps in waves, the pods with their budgets, the
volumes, and what would block it. It changes nothing: budgets are asked by evictions
that are dry runs. It is computed here, with your own rights, by the config on the
cluster; the agent is not asked.

With -l it shows a line for each node. The exit code is 4 when something would block
a cleanup.`,
		Example: `  kubectl nodecleanup plan ip-10-0-7

  # Each pod with its verdict
  kubectl nodecleanup plan ip-10-0-7 -o wide

  # Would a whole rack go?
  kubectl nodecleanup plan -l topology.kubernetes.io/rack=r7`,
		Args:              o.arguments,
		ValidArgsFunction: environment.CompleteNodes,
		RunE: func(cmd *cobra.Command, arguments []string) error {
			if len(arguments) > 0 {
				o.Node = command.NodeName(arguments[0])
			}
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.Selector, "selector", "l", "", "Label selector: the nodes it matches instead of one")
	o.AddTimeout(cmd.Flags(), 2*time.Minute)
	return cmd
}

func (o *Options) arguments(cmd *cobra.Command, arguments []string) error {
	if o.Selector == "" {
		return command.OneNode(cmd, arguments)
	}
	if len(arguments) > 0 {
		return exit.Usagef("%s takes a node or --selector, not both", cmd.CommandPath())
	}
	return nil
}

// Validate checks the flags.
func (o *Options) Validate() error {
	if err := o.ValidateTimeout(); err != nil {
		return err
	}
	if _, err := labels.Parse(o.Selector); err != nil {
		return exit.Usagef("--selector: %w", err)
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
	nodes, err := o.nodes(ctx, clients.Typed)
	if err != nil {
		return err
	}
	previewer, err := preview.Load(ctx, clients.Typed, namespace)
	if err != nil {
		return err
	}
	plans := make([]*printer.Plan, len(nodes))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(plansAtOnce)
	for i := range nodes {
		group.Go(func() error {
			var err error
			plans[i], err = previewer.Plan(ctx, &nodes[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var view printer.View = printer.NewPlanList(plans)
	if o.Selector == "" {
		view = plans[0]
	}
	if err := o.Print(o.Environment, view); err != nil {
		return err
	}
	for _, plan := range plans {
		if len(plan.Blocked) > 0 {
			return exit.Quiet(exit.Blocked)
		}
	}
	return nil
}

func (o *Options) nodes(ctx context.Context, client kubernetes.Interface) ([]corev1.Node, error) {
	if o.Selector == "" {
		node, err := command.Node(ctx, client, o.Node)
		if err != nil {
			return nil, err
		}
		return []corev1.Node{*node}, nil
	}
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: o.Selector})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("listing nodes: none has the labels %q", o.Selector),
			Next: "See the labels there are: kubectl get nodes --show-labels",
		}
	}
	return list.Items, nil
}
