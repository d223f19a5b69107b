// Package retry is the command that has a cleanup tried again now.
package retry

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/follow"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Timeout

	Node string
	Wait bool
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "retry NODE",
		Short: "Try a cleanup that failed, waits or is blocked again, now",
		Long: `Try a cleanup that failed, waits for its next attempt or is blocked again, now.

Steps that are done stay done. The others begin anew with all their tries, by the
newest config.`,
		Example: `  # The cause is mended: go on
  kubectl nodecleanup retry ip-10-0-7 --wait`,
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
	cmd.Flags().BoolVar(&o.Wait, "wait", false, "Follow the cleanup until it is done or needs attention")
	o.AddTimeout(cmd.Flags(), time.Hour)
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	return o.ValidateTimeout()
}

// Run leaves the request, and follows what comes of it.
func (o *Options) Run(ctx context.Context) error {
	ctx, cancel := o.WithTimeout(ctx)
	defer cancel()
	clients, namespace, err := o.Cluster.Connect(ctx)
	if err != nil {
		return err
	}
	node, err := command.Node(ctx, clients.Typed, o.Node)
	if err != nil {
		return err
	}
	if err := worthIt(node); err != nil {
		return err
	}
	o.WarnWithoutLeader(ctx, clients.Typed, namespace)
	stamp := o.Stamp()
	if err := command.Annotate(ctx, clients.Typed, node, map[string]any{api.AnnotationRetryRequestedAt: stamp}); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "node/%s retry requested\n", node.Name)
	if !o.Wait {
		o.Say("See what comes of it: kubectl nodecleanup diagnose %s", node.Name)
		return nil
	}
	follower := follow.Follower{Client: clients.Typed, Namespace: namespace, Say: func(line string) { o.Say("  %s", line) }}
	return follower.Until(ctx, node, func(now follow.Cleanup) (bool, error) {
		if now.Node != nil && now.Undecodable != nil {
			return false, nil // The agent begins another record because of this request.
		}
		return follow.Settled(now, node.Name, func(run *api.Run) bool {
			return run.RetryRequestedAt == stamp || run.State.Released()
		})
	})
}

// worthIt refuses where there is no cleanup to try again.
func worthIt(node *corev1.Node) error {
	refuse := func(why, next string) error {
		return &exit.Error{Code: exit.Failure, Err: fmt.Errorf("retrying the cleanup of node %s: %s", node.Name, why), Next: next}
	}
	switch {
	case node.DeletionTimestamp != nil && !api.HasFinalizer(node):
		return refuse("it is not held by nodecleanup, but by "+strings.Join(node.Finalizers, ", "), "Ask whoever owns these finalizers: kubectl nodecleanup diagnose "+node.Name)
	case node.DeletionTimestamp == nil && node.Annotations[api.AnnotationCleanupRequestedAt] == "":
		return refuse("none was begun: it is not being deleted, and nobody has asked for its cleanup", "To clean it up: kubectl nodecleanup cleanup "+node.Name)
	}
	return nil
}
