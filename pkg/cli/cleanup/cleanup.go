// Package cleanup is the command that cleans up a node that is not deleted yet.
package cleanup

import (
	"context"
	"errors"
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
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Timeout

	Node string
	// Plan is the hash that the plan must still have, empty for any.
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
		Use:   "cleanup NODE",
		Short: "Run the plan now, on a live node",
		Long: `Run the plan now, on a node that is not deleted yet: it is cordoned, and every step
runs as it would after a delete. The node stays, cordoned; deleted afterwards, it is
gone immediately. So a load balancer loses the node only when its pods have moved.

It is asked of the agent, which goes on when this command ends. To give it up:
  kubectl annotate node NODE nodecleanup.io/cleanup-requested-at-`,
		Example: `  # Look, then run just what was looked at
  kubectl nodecleanup plan ip-10-0-7
  kubectl nodecleanup cleanup ip-10-0-7 --plan 9f3c1a --wait

  # Clean up and delete
  kubectl nodecleanup cleanup ip-10-0-7 --delete --yes`,
		Args:              command.OneNode,
		ValidArgsFunction: environment.CompleteNodes,
		RunE: func(cmd *cobra.Command, arguments []string) error {
			o.Node = command.NodeName(arguments[0])
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Plan, "plan", "", "Run only this plan, as `plan NODE` named it; refuse when it is another one by now")
	flags.BoolVar(&o.Delete, "delete", false, "Delete the node when it is cleaned up; waits for it")
	flags.BoolVar(&o.Wait, "wait", false, "Follow the steps until they are done or need attention")
	flags.BoolVar(&o.EvenIfBlocked, "even-if-blocked", false, "Begin although something blocks the plan or refuses the deletion now; the steps wait for it")
	flags.BoolVarP(&o.Yes, "yes", "y", false, "Do not ask")
	o.AddTimeout(flags, time.Hour)
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	return o.ValidateTimeout()
}

// Run plans, asks, requests and follows.
func (o *Options) Run(ctx context.Context) error {
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	node, err := command.Node(ctx, clients.Typed, o.Node)
	if err != nil {
		return err
	}
	if node.DeletionTimestamp != nil {
		return &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("cleaning up node %s: it is being deleted, and its cleanup has begun by that", node.Name),
			Next: fmt.Sprintf("See where it stands: kubectl nodecleanup diagnose %s. Try it again now: kubectl nodecleanup retry %[1]s", node.Name),
		}
	}
	previewer, err := preview.Load(ctx, clients.Typed, namespace)
	if err != nil {
		return err
	}
	plan, err := previewer.Plan(ctx, node)
	if err != nil {
		return err
	}
	if err := o.allowed(plan); err != nil {
		return err
	}
	if o.Delete {
		if err := o.deletable(ctx, clients.Typed, node); err != nil {
			return err
		}
	}
	if !o.Yes {
		question := fmt.Sprintf("Cordon node %s and run the %d steps of plan %s?", node.Name, len(plan.Steps), plan.Hash)
		if o.Delete {
			question = fmt.Sprintf("Cordon node %s, run the %d steps of plan %s and delete the node?", node.Name, len(plan.Steps), plan.Hash)
		}
		if err := o.Confirm(ctx, question); err != nil {
			return err
		}
	}
	// Time begins when somebody has answered.
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	o.WarnWithoutLeader(ctx, clients.Typed, namespace)
	stamp := o.Stamp()
	annotations := map[string]any{api.AnnotationCleanupRequestedAt: stamp, api.AnnotationCleanupRequestedBy: command.WhoAmI(ctx, clients.Typed)}
	if err := command.Annotate(ctx, clients.Typed, node, annotations); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "node/%s cleanup requested\n", node.Name)
	if !o.Wait && !o.Delete {
		o.Say("See where it stands: kubectl nodecleanup status -w. To give it up: kubectl annotate node %s %s-", node.Name, api.AnnotationCleanupRequestedAt)
		return nil
	}
	follower := follow.Follower{Client: clients.Typed, Namespace: namespace, Say: func(line string) { o.Say("  %s", line) }}
	if err := o.follow(ctx, follower, node, stamp); err != nil {
		return err
	}
	if !o.Delete {
		fmt.Fprintf(o.Out, "node/%s cleaned up; it stays cordoned until it is deleted\n", node.Name)
		return nil
	}
	return o.delete(ctx, clients.Typed, follower, node)
}

// allowed refuses a plan that is not the one that was meant, or that cannot be done now.
func (o *Options) allowed(plan *printer.Plan) error {
	again := "Look at it again: kubectl nodecleanup plan " + plan.Node
	switch {
	case plan.Unprotected != "":
		return &exit.Error{Code: exit.Failure, Err: fmt.Errorf("cleaning up node %s: %s", plan.Node, plan.Unprotected), Next: "Change nodeSelector in the config if it is to be cleaned up."}
	case plan.Excluded != "":
		return &exit.Error{
			Code: exit.Failure, Err: fmt.Errorf("cleaning up node %s: %s; on request nothing is done", plan.Node, plan.Excluded),
			Next: fmt.Sprintf("Change nodeSelector in the config, or delete it: kubectl delete node %[1]s. To let it go without its cleanup: kubectl nodecleanup bypass %[1]s", plan.Node),
		}
	case o.Plan != "" && o.Plan != plan.Hash:
		return &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("cleaning up node %s by plan %s: the plan is %s by now, because the config or the node's labels have changed; nothing was begun", plan.Node, o.Plan, plan.Hash),
			Next: again,
		}
	case len(plan.Blocked) > 0 && !o.EvenIfBlocked:
		first := plan.Blocked[0]
		return &exit.Error{
			Code: exit.Blocked,
			Err:  fmt.Errorf("cleaning up node %s: %d things block its plan, first %s: %s; nothing was begun", plan.Node, len(plan.Blocked), first.What, first.Reason),
			Next: again + ". To begin nevertheless and have the steps wait: --even-if-blocked",
		}
	}
	return nil
}

func (o *Options) follow(ctx context.Context, follower follow.Follower, node *corev1.Node, stamp string) error {
	err := follower.Until(ctx, node, func(now follow.Cleanup) (bool, error) {
		if now.Node != nil && now.Node.Annotations[api.AnnotationCleanupRequestedAt] != stamp {
			return false, &exit.Error{
				Code: exit.Failure,
				Err:  fmt.Errorf("cleaning up node %s: somebody has taken the request back or made another one", node.Name),
				Next: "See where it stands: kubectl nodecleanup diagnose " + node.Name,
			}
		}
		return follow.Settled(now, node.Name, func(run *api.Run) bool { return run.CleanupRequestedAt == stamp })
	})
	var settled *exit.Error
	if err != nil && (!errors.As(err, &settled) || settled.Code == exit.TimedOut) {
		o.Say("The agent goes on with the cleanup. To give it up: kubectl annotate node %s %s-", node.Name, api.AnnotationCleanupRequestedAt)
	}
	return err
}

// deletable asks by a dry run whether the Node may be deleted, so that nobody waits for a
// cleanup after which it is kept. What refuses now may let it go then: the delete guard a
// Node whose critical pods have moved, for example.
func (o *Options) deletable(ctx context.Context, client kubernetes.Interface, node *corev1.Node) error {
	err := client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{
		DryRun: []string{metav1.DryRunAll}, Preconditions: &metav1.Preconditions{UID: &node.UID},
	})
	switch {
	case err == nil:
		return nil
	case !apierrors.IsForbidden(err):
		return fmt.Errorf("asking whether node %s may be deleted (dry run); nothing was begun: %w", node.Name, err)
	case o.EvenIfBlocked:
		o.Say("Deleting node %s would be refused now, and is tried when it is cleaned up: %v", node.Name, err)
		return nil
	}
	return &exit.Error{
		Code: exit.Blocked,
		Err:  fmt.Errorf("cleaning up node %s to delete it: the deletion would be refused now; nothing was begun: %w", node.Name, err),
		Next: "Do what the message says, or ask a cluster administrator for the right it names. To clean it up without deleting it, leave --delete out. To begin nevertheless: --even-if-blocked",
	}
}

func (o *Options) delete(ctx context.Context, client kubernetes.Interface, follower follow.Follower, node *corev1.Node) error {
	err := follower.Retry(ctx, func(ctx context.Context) error {
		return client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &node.UID}})
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("deleting node %s, which is cleaned up: %w", node.Name, err),
			Next: fmt.Sprintf("When you are allowed to: kubectl delete node %s; it is gone immediately.", node.Name),
		}
	}
	err = follower.Until(ctx, node, func(now follow.Cleanup) (bool, error) {
		if now.Node != nil {
			return false, nil
		}
		// Uncordoned meanwhile, it was cleaned up anew, and that may have been bypassed.
		return follow.Settled(now, node.Name, nil)
	})
	if err != nil {
		return fmt.Errorf("waiting for node %s to be gone: %w", node.Name, err)
	}
	fmt.Fprintf(o.Out, "node/%s cleaned up and deleted\n", node.Name)
	return nil
}
