// Package bypass is the command that releases nodes without their cleanup.
package bypass

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Nodes

	Reason string
	For    time.Duration
	Yes    bool
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "bypass NODE... | -l SELECTOR --reason TEXT",
		Short: "Release nodes without their cleanup, on the record",
		Long: `Release nodes without their cleanup, on the record.

The agent does not run the remaining steps: it evicts no pods, waits for no volumes and
notifies nobody. The reason is kept on the node, in an Event and in the run record.

On a node that is not being deleted, the bypass takes effect at its deletion. --for limits
how long it is valid. To remove it:
  kubectl annotate node NODE nodecleanup.io/bypass-

With several nodes, the command asks once. An error of one does not stop the others.
The exit code is the highest of all nodes.`,
		Example: `  # The machine is lost and the drain can never succeed
  kubectl nodecleanup bypass ip-10-0-7 --reason "hardware lost, INC-4711"

  # From a script, for the next hour only
  kubectl nodecleanup bypass ip-10-0-7 --reason "rebuild of rack 7" --for 1h --yes

  # A whole rack
  kubectl nodecleanup bypass -l topology.kubernetes.io/rack=r7 --reason "fire in rack 7"`,
		Args:              o.Arguments,
		ValidArgsFunction: environment.CompleteNodes,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			if cmd.Flags().Changed("for") && o.For <= 0 {
				return exit.Usagef("--for must be longer than 0, not %s", o.For)
			}
			return o.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	o.AddSelector(flags)
	flags.StringVar(&o.Reason, "reason", "", "Reason, kept on the record (required)")
	flags.DurationVar(&o.For, "for", 0, "How long the bypass is valid, such as 1h (default: until it is removed)")
	flags.BoolVarP(&o.Yes, "yes", "y", false, "Do not ask for confirmation")
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	var err error
	if o.Reason, err = command.CleanReason(o.Reason); err != nil {
		return err
	}
	if o.Reason == "" {
		return exit.Usagef("bypassing a node needs a --reason")
	}
	return nil
}

// Run shows what remains undone, asks, and marks the nodes.
func (o *Options) Run(ctx context.Context) error {
	clients, err := o.Cluster.Clients()
	if err != nil {
		return err
	}
	nodes, err := o.Read(ctx, clients.Typed)
	if err != nil {
		return err
	}
	if err := o.consequences(ctx, clients.Typed, nodes); err != nil {
		return err
	}
	if !o.Yes {
		question, word := fmt.Sprintf("Release node %s without cleanup?", nodes[0].Name), nodes[0].Name
		if len(nodes) > 1 {
			question, word = fmt.Sprintf("Release these %d nodes without cleanup?", len(nodes)), fmt.Sprint(len(nodes))
		}
		if err := o.ConfirmByTyping(ctx, question, word); err != nil {
			return err
		}
	}
	results := o.NewResults(len(nodes) > 1)
	command.ForEach(results, nodes, 1, func(node *corev1.Node) error {
		if err := o.mark(ctx, clients.Typed, node); err != nil {
			return err
		}
		results.Done("node/%s bypassed", node.Name)
		return nil
	})
	return results.Err()
}

// consequences says what the bypass will do and leave undone, for the first of many nodes.
func (o *Options) consequences(ctx context.Context, client kubernetes.Interface, nodes []*corev1.Node) error {
	namespace, err := o.Cluster.Namespace(ctx, client)
	if err != nil {
		return err
	}
	listed, more := command.Bounded(nodes)
	for _, node := range listed {
		o.Say("%s", consequence(ctx, client, namespace, node))
	}
	if more > 0 {
		o.Say("And %d more nodes.", more)
	}
	o.WarnWithoutLeader(ctx, client, namespace)
	return nil
}

func consequence(ctx context.Context, client kubernetes.Interface, namespace string, node *corev1.Node) string {
	switch {
	case node.DeletionTimestamp == nil:
		return fmt.Sprintf("Node %s is not being deleted. The bypass takes effect when it is deleted: none of its steps run then.", node.Name)
	case !api.HasFinalizer(node):
		return fmt.Sprintf("Node %s is being deleted and is not held by nodecleanup, but by: %s. The bypass has no effect on these.",
			node.Name, strings.Join(node.Finalizers, ", "))
	}
	return fmt.Sprintf("Node %s will be released immediately; %s.", node.Name, command.UndoneOf(cluster.RunOf(ctx, client, namespace, node)))
}

// mark puts the bypass on the node.
func (o *Options) mark(ctx context.Context, client kubernetes.Interface, node *corev1.Node) error {
	annotations := map[string]any{
		api.AnnotationBypass:       "true",
		api.AnnotationBypassReason: o.Reason,
		// An end that an earlier bypass had does not count for this one.
		api.AnnotationBypassUntil: nil,
	}
	if o.For > 0 {
		annotations[api.AnnotationBypassUntil] = o.ServerTime().Add(o.For).UTC().Format(time.RFC3339)
	}
	return command.Annotate(ctx, client, node, annotations)
}
