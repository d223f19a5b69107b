// Package nodes is the command that lists every node: protected or not, and
// where its cleanup stands.
package nodes

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
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
		Long: `List every node: whether it is protected, the state and the current step of its cleanup,
and its age. PROTECTED is yes if a deletion keeps the node until its cleanup is done, no
if the node lacks the finalizer, and bypass if an operator has marked it, so that a
deletion releases it without cleanup. Lines below the list say why nodes lack the
finalizer. The command only reads, and needs no agent.`,
		Example: `  kubectl nodecleanup nodes list

  # Nodes whose deletion would run no cleanup
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
	var why reasons
	leaving := &inspect.Snapshot{Namespace: namespace}
	err = cluster.EachNode(ctx, clients.Typed.CoreV1(), func(node *corev1.Node) error {
		trimmed := inspect.Trim(node)
		if !api.HasFinalizer(node) {
			why.some = true
		}
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
	if why.some || len(leaving.Leaving) > 0 {
		why.read(ctx, clients.Typed, namespace, o.ServerTime)
	}
	leaving.Selector = why.selector
	return o.Print(o.Environment, inspect.NodeList(nodes, leaving, why.agent, why.absence, o.ServerTime()))
}

// reasons holds the objects that explain why nodes lack the finalizer. An unreadable object is
// nil.
type reasons struct {
	// some: there are such nodes.
	some     bool
	selector labels.Selector
	agent    *printer.Agent
	// absence qualifies the state of the cleanups.
	absence inspect.Absence
}

// read skips objects that the caller has no right to read: the list is useful without them.
func (r *reasons) read(ctx context.Context, client kubernetes.Interface, namespace string, now func() time.Time) {
	if settings, err := preview.Config(ctx, client, namespace); err == nil {
		r.selector = settings.NodeSelector
	}
	if seen, err := inspect.NewReader(client, namespace, now).Agent(ctx); err == nil {
		r.agent, r.absence = &inspect.Assess(seen, version.Version, now()).Agent, seen.Absence()
	}
}
