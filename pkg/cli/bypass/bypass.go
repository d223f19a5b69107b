// Package bypass is the command that releases nodes without their cleanup.
package bypass

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// defaultFor is the default duration of a bypass, so that a forgotten mark on a live node does not
// release it a year later.
const defaultFor = 24 * time.Hour

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
notifies no other system. Your name and the reason are kept in an Event and in the run record.

A node that is being deleted is released now. If no agent is the leader, this command
writes the run record and the Event, and releases the node itself.

If a node is not being deleted, the command marks it. If the node is deleted before the
mark expires (--for), the agent releases it without its cleanup. status, nodes list, plan,
check and diagnose show the mark. To remove the mark earlier:

  kubectl annotate node NODE nodecleanup.io/bypass-

Every bypass by this command expires. For a long bypass, set a long duration, such as
--for 8760h.

For several nodes, the command asks for confirmation once. If one node fails, the command
continues with the others, and exits with the highest exit code.`,
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
			return o.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	o.AddSelector(flags)
	flags.StringVar(&o.Reason, "reason", "", "Reason, kept on the record (required)")
	flags.DurationVar(&o.For, "for", defaultFor, "How long the bypass is valid")
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
	if o.For <= 0 {
		return exit.Usagef("--for must be longer than 0, not %s", o.For)
	}
	return nil
}

// Run shows the remaining steps, asks for confirmation, and marks the nodes.
func (o *Options) Run(ctx context.Context) error {
	clients, err := o.Cluster.Clients()
	if err != nil {
		return err
	}
	nodes, err := o.Read(ctx, clients.Typed)
	if err != nil {
		return err
	}
	release, err := o.consequences(ctx, clients.Typed, nodes)
	if err != nil {
		return err
	}
	if !o.Yes {
		question, word := question(nodes)
		if err := o.ConfirmByTyping(ctx, question, word); err != nil {
			return err
		}
	}
	by := command.WhoAmI(ctx, clients.Typed)
	results := o.NewResults(len(nodes) > 1)
	command.ForEach(results, nodes, 1, func(node *corev1.Node) error {
		current, err := o.mark(ctx, clients.Typed, node, by)
		if err != nil {
			return err
		}
		if current.DeletionTimestamp == nil {
			results.Done("node/%s marked", node.Name)
			results.Progress(node.Name, command.TakeBack(node.Name))
			return nil
		}
		if release == nil || !api.HasFinalizer(current) {
			results.Done("node/%s bypassed", node.Name)
			return nil
		}
		return o.release(ctx, release, results, current)
	})
	return results.Err()
}

// release releases a marked node without an agent.
func (o *Options) release(ctx context.Context, releaser *releaser, results *command.Results, node *corev1.Node) error {
	err := releaser.release(ctx, node)
	switch {
	case err == nil:
		results.Done("node/%s bypassed and released", node.Name)
		return nil
	case errors.Is(err, errLeads):
		results.Done("node/%s bypassed", node.Name)
		results.Progress(node.Name, "An agent is the leader now and releases the node.")
		return nil
	case errors.Is(err, errReleased):
		results.Done("node/%s bypassed", node.Name)
		results.Progress(node.Name, "Another user or an agent has released the node. To see who and why: kubectl nodecleanup history "+node.Name)
		return nil
	case errors.Is(err, errOvertaken):
		return &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("releasing node %s: %w; this command has not released it", node.Name, err),
			Next: fmt.Sprintf("Show its state: kubectl nodecleanup diagnose %s\n  or:  If the node no longer exists: kubectl nodecleanup history %[1]s", node.Name),
		}
	}
	return err
}

// question asks about all nodes at once, and returns the word to type.
func question(nodes []*corev1.Node) (question, word string) {
	which, word := "node "+nodes[0].Name, nodes[0].Name
	if len(nodes) > 1 {
		which, word = fmt.Sprintf("these %d nodes", len(nodes)), fmt.Sprint(len(nodes))
	}
	if slices.ContainsFunc(nodes, func(node *corev1.Node) bool { return node.DeletionTimestamp != nil }) {
		return fmt.Sprintf("Release %s without cleanup?", which), word
	}
	return fmt.Sprintf("Mark %s, so that a deletion runs no cleanup?", which), word
}

// consequences prints the effects of the bypass and the steps that remain, for the first of many
// nodes. It returns the releaser of terminating nodes if no agent leads.
func (o *Options) consequences(ctx context.Context, client kubernetes.Interface, nodes []*corev1.Node) (*releaser, error) {
	namespace, err := o.Cluster.Namespace(ctx, client)
	if err != nil {
		return nil, err
	}
	release, err := o.withoutAgent(ctx, client, namespace, nodes)
	if err != nil {
		return nil, err
	}
	listed, more := command.Bounded(nodes)
	for _, node := range listed {
		o.Say("%s", o.consequence(ctx, client, namespace, node))
	}
	if more > 0 {
		o.Say("And %s.", api.Count(more, "more node"))
	}
	if release != nil {
		o.Say("No agent in namespace %s is the leader. This command records the bypass and releases the nodes that are being deleted.", namespace)
	} else {
		o.WarnWithoutLeader(ctx, client, namespace)
	}
	return release, nil
}

// withoutAgent returns the releaser for nodes that no agent releases. It is nil if an agent leads,
// if the leader is unknown, or if no terminating node is held.
func (o *Options) withoutAgent(ctx context.Context, client kubernetes.Interface, namespace string, nodes []*corev1.Node) (*releaser, error) {
	if !slices.ContainsFunc(nodes, held) {
		return nil, nil
	}
	lease := &cluster.LeaseReader{Client: client.CoordinationV1(), Namespace: namespace, Now: o.ServerTime}
	leadership, err := lease.Read(ctx)
	if err != nil {
		o.Say("Cannot read whether an agent is the leader: %v", err)
		return nil, nil
	}
	if leadership.HasLeader {
		return nil, nil
	}
	// A record in a namespace without an agent would never be read.
	if err := command.CheckNamespace(ctx, client, namespace, "releasing nodes from", "Leave --namespace out."); err != nil {
		return nil, err
	}
	verified, err := access.NamesEnforced(ctx, client)
	if err != nil {
		o.Say("Your name is recorded as unverified: %v", err)
	}
	return &releaser{client: client, namespace: namespace, now: o.ServerTime, lease: lease, verified: verified && err == nil}, nil
}

// held reports whether the node is being deleted and has our finalizer.
func held(node *corev1.Node) bool { return node.DeletionTimestamp != nil && api.HasFinalizer(node) }

func (o *Options) consequence(ctx context.Context, client kubernetes.Interface, namespace string, node *corev1.Node) string {
	switch {
	case node.DeletionTimestamp == nil:
		return fmt.Sprintf("Node %s is not being deleted: if it is deleted before %s, none of its steps run.", node.Name, o.until())
	case !api.HasFinalizer(node):
		return fmt.Sprintf("nodecleanup does not block the deletion of node %s, but these finalizers do: %s. The bypass has no effect on them.",
			node.Name, strings.Join(node.Finalizers, ", "))
	}
	return fmt.Sprintf("Node %s will be released immediately; %s.", node.Name, command.UndoneOf(cluster.RunOf(ctx, client, namespace, node)))
}

// until is when the bypass ends.
func (o *Options) until() string { return o.ServerTime().Add(o.For).UTC().Format(time.RFC3339) }

// mark sets the bypass on the node, in the name of the caller, and returns the node.
func (o *Options) mark(ctx context.Context, client kubernetes.Interface, node *corev1.Node, by any) (*corev1.Node, error) {
	return command.Annotate(ctx, client, node, map[string]any{
		api.AnnotationBypass:       "true",
		api.AnnotationBypassBy:     by,
		api.AnnotationBypassReason: o.Reason,
		api.AnnotationBypassUntil:  o.until(),
	})
}
