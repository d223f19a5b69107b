// Package nodes is the command that lists every node: protected or not, and
// where its cleanup stands.
package nodes

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Output
	command.Timeout
}

// New returns the command with its one sub-command.
func New(environment *command.Environment) *cobra.Command {
	parent := &cobra.Command{
		Use:   "nodes",
		Short: "List nodes, their protection and the state of their cleanup",
		Args:  command.NoArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	parent.AddCommand(list(environment))
	return parent
}

func list(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List every node: protected or not, state, step, age",
		Long: `List every node: whether it is protected, the state of its cleanup, the step that it is
at, and its age. PROTECTED is yes if a deletion keeps the node until its cleanup is done,
no if the node lacks the finalizer, and bypass if an operator has marked it, so that a
deletion releases it without cleanup. The command only reads, and needs no agent.`,
		Example: `  kubectl nodecleanup nodes list

  # Nodes that a delete would take away without cleanup
  kubectl nodecleanup nodes list -o json | jq -r '.nodes[] | select(.protected | not) | .name'`,
		Args: command.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
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

// Run reads and prints.
func (o *Options) Run(ctx context.Context) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	var nodes []*corev1.Node
	leaving := &inspect.Snapshot{Namespace: namespace}
	err = cluster.EachNode(ctx, clients.Typed.CoreV1(), func(node *corev1.Node) error {
		trimmed := inspect.Trim(node)
		nodes = append(nodes, trimmed)
		if inspect.IsLeaving(node) {
			leaving.Leaving = append(leaving.Leaving, trimmed)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := leaving.ReadRuns(ctx, clients.Typed); err != nil {
		return err
	}
	return o.Print(o.Environment, view(nodes, leaving, o.ServerTime()))
}

func view(nodes []*corev1.Node, leaving *inspect.Snapshot, now time.Time) *printer.NodeList {
	list := printer.NewNodeList(now)
	for _, node := range nodes {
		bypass := inspect.Bypass(node, now)
		row := printer.Node{
			Name: node.Name, UID: string(node.UID), Protected: api.HasFinalizer(node) && bypass == nil, Bypass: bypass, Cordoned: node.Spec.Unschedulable, Created: node.CreationTimestamp,
		}
		if condition := api.CleanupConditionOf(node); node.DeletionTimestamp != nil || condition != nil {
			cleanup := inspect.CleanupRow(node, leaving.Runs[node.UID], leaving.Unreadable[node.UID])
			row.State, row.Stuck, row.Step, row.Reason, row.Since = cleanup.State, cleanup.Stuck, cleanup.Step, cleanup.Reason, cleanup.Since
		}
		list.Nodes = append(list.Nodes, row)
	}
	slices.SortFunc(list.Nodes, func(a, b printer.Node) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
