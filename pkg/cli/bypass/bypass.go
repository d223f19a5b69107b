// Package bypass is the command that lets a node go without cleanup.
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

// longestReason keeps a reason readable where it is shown: condition, Event, record.
const longestReason = 512

// Options of the command.
type Options struct {
	*command.Environment

	Node   string
	Reason string
	For    time.Duration
	Yes    bool
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "bypass NODE --reason TEXT",
		Short: "Let a node go without cleanup, on the record",
		Long: `Let a node go without cleanup, on the record.

The steps that are not done yet will not be done: pods are not moved, volumes are not let
go, nobody is told. The reason stays on the node, in an Event and in the run record.

A node that is not being deleted is only marked: the bypass acts when it is deleted.
--for limits how long the mark counts. To take it back before:
  kubectl annotate node NODE nodecleanup.io/bypass-`,
		Example: `  # The machine is gone and the drain can never succeed
  kubectl nodecleanup bypass ip-10-0-7 --reason "hardware lost, INC-4711"

  # From a script, for the next hour only
  kubectl nodecleanup bypass ip-10-0-7 --reason "rebuild of rack 7" --for 1h --yes`,
		Args:              command.OneNode,
		ValidArgsFunction: environment.CompleteNodes,
		RunE: func(cmd *cobra.Command, arguments []string) error {
			o.Node = command.NodeName(arguments[0])
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
	flags.StringVar(&o.Reason, "reason", "", "Why, for those who ask later (required)")
	flags.DurationVar(&o.For, "for", 0, "How long the bypass counts, such as 1h (default: until it is taken back)")
	flags.BoolVarP(&o.Yes, "yes", "y", false, "Do not ask")
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	o.Reason = strings.TrimSpace(o.Reason)
	switch {
	case o.Reason == "":
		return exit.Usagef("bypassing a node needs a --reason")
	case len(o.Reason) > longestReason || strings.ContainsAny(o.Reason, "\r\n"):
		return exit.Usagef("--reason must be one line of at most %d bytes", longestReason)
	}
	return nil
}

// Run shows what stays undone, asks, and marks the node.
func (o *Options) Run(ctx context.Context) error {
	clients, err := o.Cluster.Clients()
	if err != nil {
		return err
	}
	node, err := command.Node(ctx, clients.Typed, o.Node)
	if err != nil {
		return err
	}
	if err := o.consequences(ctx, clients.Typed, node); err != nil {
		return err
	}
	if !o.Yes {
		if err := o.ConfirmByTyping(ctx, fmt.Sprintf("Let node %s go without cleanup?", node.Name), node.Name); err != nil {
			return err
		}
	}
	if err := o.mark(ctx, clients.Typed, node); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "node/%s bypassed\n", node.Name)
	return nil
}

// consequences says what the bypass will do and leave undone.
func (o *Options) consequences(ctx context.Context, client kubernetes.Interface, node *corev1.Node) error {
	namespace, err := o.Cluster.Namespace(ctx, client)
	if err != nil {
		return err
	}
	switch {
	case node.DeletionTimestamp == nil:
		o.Say("Node %s is not being deleted: the bypass waits until it is, and then none of its steps run.", node.Name)
	case !api.HasFinalizer(node):
		o.Say("Node %s is being deleted and is not held by nodecleanup, but by: %s. The bypass has no effect on these.",
			node.Name, strings.Join(node.Finalizers, ", "))
	default:
		o.Say("Node %s will be released immediately; %s.", node.Name, command.UndoneOf(cluster.RunOf(ctx, client, namespace, node)))
	}
	o.WarnWithoutLeader(ctx, client, namespace)
	return nil
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
