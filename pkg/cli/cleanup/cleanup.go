// Package cleanup is the command that cleans up a node that is not deleted yet.
package cleanup

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/follow"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/rights"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Timeout
	command.Nodes

	// Plan is the hash of the only plan that may run, empty for any.
	Plan          string
	Delete        bool
	Wait          bool
	Yes           bool
	EvenIfBlocked bool
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "cleanup NODE... | -l SELECTOR",
		Short: "Run the plan now, on live nodes",
		Long: `Run the plan now, on nodes that are not deleted yet. The agent cordons each node and
runs every step as it does after a deletion. The node stays, cordoned, and a later
deletion takes effect immediately. So load balancers keep the node until its pods have
moved.

The agent continues when this command ends, but only this command deletes the node
(--delete). Run it again with --wait to follow a cleanup that was requested before. To
withdraw the request:

  kubectl annotate node NODE nodecleanup.io/cleanup-requested-at-

With --plan HASH, the agent computes the plan again before the first step. If the config,
the node's labels, its pods or its volumes have changed, the agent refuses the request,
and the condition of the node says what changed. If another user has already requested a
cleanup with a different plan, the command fails.

For several nodes, the command asks for confirmation once. If one node fails, the command
continues with the others, and exits with the highest exit code.`,
		Example: `  # Review the plan, then run exactly that plan
  kubectl nodecleanup plan ip-10-0-7
  kubectl nodecleanup cleanup ip-10-0-7 --plan 9f3c1-0a2b4-77d1e-c0ffe --wait

  # Clean up and delete
  kubectl nodecleanup cleanup ip-10-0-7 ip-10-0-8 --delete --yes

  # A whole rack
  kubectl nodecleanup cleanup -l topology.kubernetes.io/rack=r7 --wait`,
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
	flags.StringVar(&o.Plan, "plan", "", "Run only the plan with this `HASH`, which the command plan prints, on one node. The agent refuses any other plan")
	flags.BoolVar(&o.Delete, "delete", false, "Delete each node after its cleanup; waits until it is deleted")
	flags.BoolVar(&o.Wait, "wait", false, "Follow the steps until they are done or need attention")
	flags.BoolVar(&o.EvenIfBlocked, "even-if-blocked", false, "Start even if something blocks the plan or the deletion now; the blocked steps wait")
	flags.BoolVarP(&o.Yes, "yes", "y", false, "Do not ask for confirmation")
	o.AddTimeout(flags, time.Hour)
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	if o.Plan != "" {
		if _, err := plan.ParseHash(o.Plan); err != nil {
			return exit.Usagef("--plan: %w", err)
		}
	}
	return o.ValidateTimeout()
}

// Run plans, asks, requests and follows.
func (o *Options) Run(ctx context.Context) error {
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	nodes, err := o.Read(ctx, clients.Typed)
	if err != nil {
		return err
	}
	if o.Plan != "" && len(nodes) > 1 {
		return exit.Usagef("--plan names the plan of one node, and these are %d nodes", len(nodes))
	}
	results := o.NewResults(len(nodes) > 1)
	fresh, begun := o.divide(ctx, clients.Typed, namespace, results, nodes)
	planned, err := o.plan(ctx, clients.Typed, namespace, results, fresh)
	if err != nil {
		return err
	}
	if len(planned)+len(begun) == 0 {
		return results.Err()
	}
	if !o.Yes && (len(planned) > 0 || o.Delete) {
		if err := o.Confirm(ctx, o.question(planned, begun)); err != nil {
			return err
		}
	}
	// The timeout begins after the confirmation.
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	agent, stop := follow.ObserveAgent(ctx, clients.Typed, namespace, o.ServerTime, results.Say)
	defer stop()
	requested := o.request(ctx, clients.Typed, results, planned)
	for _, one := range begun {
		results.Done("node/%s %s", one.node.Name, one.since())
	}
	requested = append(requested, begun...)
	switch {
	case len(requested) == 0:
	case o.Wait || o.Delete:
		o.follow(ctx, clients.Typed, namespace, results, agent, requested)
	default:
		o.Say("Follow the cleanup: kubectl nodecleanup cleanup %s --wait. To withdraw the request: %s", names(requested), withdraw(requested))
	}
	return results.Err()
}

// plan returns the nodes that can be cleaned up now, with their plans. It adds rejected nodes to
// results, and starts no cleanup.
func (o *Options) plan(ctx context.Context, client kubernetes.Interface, namespace string, results *command.Results, nodes []*corev1.Node) ([]*preview.Planned, error) {
	if len(nodes) == 0 {
		return nil, nil
	}
	previewer, err := preview.Load(ctx, client, namespace, o.ServerTime)
	if err != nil {
		return nil, err
	}
	planned := previewer.Plans(ctx, results, nodes)
	var plans []*printer.Plan
	for _, one := range planned {
		plans = append(plans, one.Plan)
	}
	if err := rights.BlockPlans(ctx, client, namespace, o.ServerTime, previewer.Settings(), plans...); err != nil {
		return nil, err
	}
	return command.ForEach(results, planned, 1, func(one *preview.Planned) error {
		if err := o.allowed(one.Plan); err != nil || !o.Delete {
			return err
		}
		return o.deletable(ctx, client, one.Node, o.EvenIfBlocked)
	}), nil
}

// question asks for all nodes at once. Several are listed before it.
func (o *Options) question(planned []*preview.Planned, begun []request) string {
	if len(planned) == 0 {
		return fmt.Sprintf("The cleanup of %s was already requested. Delete %s afterwards?", counted(begun), pronoun(begun))
	}
	if o.Delete && len(begun) > 0 {
		o.Say("The cleanup of %s was already requested. This command also deletes %s afterwards.", counted(begun), pronoun(begun))
	}
	if len(planned) == 1 {
		one := planned[0]
		steps := fmt.Sprintf("its plan (%s)", api.Count(len(one.Plan.Steps), "step"))
		if o.Plan != "" {
			steps = fmt.Sprintf("plan %s (%s)", o.Plan, api.Count(len(one.Plan.Steps), "step"))
		}
		if o.Delete {
			return fmt.Sprintf("Cordon node %s, run %s and delete the node?", one.Node.Name, steps)
		}
		return fmt.Sprintf("Cordon node %s and run %s?", one.Node.Name, steps)
	}
	listed, more := command.Bounded(planned)
	for _, one := range listed {
		o.Say("Node %s: %s", one.Node.Name, api.Count(len(one.Plan.Steps), "step"))
	}
	if more > 0 {
		o.Say("And %s.", api.Count(more, "more node"))
	}
	if o.Delete {
		return fmt.Sprintf("Cordon these %d nodes, run their plans and delete them?", len(planned))
	}
	return fmt.Sprintf("Cordon these %d nodes and run their plans?", len(planned))
}

// withdraw is the command that withdraws the requests.
func withdraw(requested []request) string {
	return fmt.Sprintf("kubectl annotate node %s %s-", names(requested), api.AnnotationCleanupRequestedAt)
}

// allowed returns an error for a plan that is not the requested one or that is blocked.
func (o *Options) allowed(planned *printer.Plan) error {
	again := "Show the current plan: kubectl nodecleanup plan " + planned.Node
	switch {
	case planned.Unprotected != "":
		return &exit.Error{Code: exit.Failure, Err: fmt.Errorf("cleaning up node %s: %s", planned.Node, planned.Unprotected), Next: "To clean it up, change nodeSelector in the config."}
	case planned.Excluded != "":
		return &exit.Error{
			Code: exit.Failure, Err: fmt.Errorf("cleaning up node %s: %s; a cleanup on request does nothing", planned.Node, planned.Excluded),
			Next: fmt.Sprintf("Change nodeSelector in the config, or delete the node: kubectl delete node %[1]s\n  or:  Release it without a cleanup: kubectl nodecleanup bypass %[1]s --reason \"…\"", planned.Node),
		}
	case o.Plan != "" && o.Plan != planned.Hash:
		return &exit.Error{Code: exit.Failure, Err: fmt.Errorf("cleaning up node %s by plan %s: %s; nothing was started", planned.Node, o.Plan, outdated(o.Plan, planned)), Next: again}
	case len(planned.Blocked) > 0 && !o.EvenIfBlocked:
		first, more := planned.Blocked[0], ""
		if others := len(planned.Blocked) - 1; others > 0 {
			more = fmt.Sprintf(" (and %d more)", others)
		}
		fix := ""
		if first.Remedy != "" {
			fix = "Fix it: " + first.Remedy + "\n  or:  "
		}
		return &exit.Error{
			Code: exit.Blocked,
			Err:  fmt.Errorf("cleaning up node %s: its plan is blocked by %s: %s%s; nothing was started", planned.Node, first.What, first.Reason, more),
			Next: fix + again + "\n  or:  Start anyway, and let the blocked steps wait: add --even-if-blocked.",
		}
	}
	return nil
}

// outdated explains how a plan differs from the plan of the hash.
func outdated(hash string, planned *printer.Plan) string {
	if planned.NoHash != "" {
		return "cannot compare it with the current plan: " + planned.NoHash
	}
	requested, err := plan.ParseHash(hash)
	if err != nil {
		return err.Error()
	}
	now, err := plan.ParseHash(planned.Hash)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s; the plan is now %s", requested.Changes(now), planned.Hash)
}

// deletable checks by a dry run whether the Node can be deleted, so that the user does not wait
// for a cleanup before a denied deletion. A denial may end with the cleanup: for example, the
// delete guard allows a Node whose critical Pods have moved. With anyway, deletable only warns.
func (o *Options) deletable(ctx context.Context, client kubernetes.Interface, node *corev1.Node, anyway bool) error {
	err := client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{
		DryRun: []string{metav1.DryRunAll}, Preconditions: &metav1.Preconditions{UID: &node.UID},
	})
	switch {
	case err == nil:
		return nil
	case !apierrors.IsForbidden(err):
		return fmt.Errorf("deleting node %s in a dry run: %w; nothing was started", node.Name, err)
	case anyway:
		o.Say("The deletion of node %s would be refused now. This command tries it after the cleanup: %v", node.Name, err)
		return nil
	}
	return &exit.Error{
		Code: exit.Blocked,
		Err:  fmt.Errorf("cleaning up node %s to delete it: the deletion would be refused now; nothing was started: %w", node.Name, err),
		Next: "Do what the message says, or ask a cluster administrator for the right that it names\n  or:  Clean up the node without deleting it: leave --delete out\n  or:  Start anyway: add --even-if-blocked",
	}
}
