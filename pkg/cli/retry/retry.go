// Package retry is the command that retries cleanups now.
package retry

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
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/follow"
)

// Options of the command.
type Options struct {
	*command.Environment
	command.Timeout
	command.Nodes

	Wait bool
}

// New returns the command.
func New(environment *command.Environment) *cobra.Command {
	o := &Options{Environment: environment}
	cmd := &cobra.Command{
		Use:   "retry NODE... | -l SELECTOR",
		Short: "Retry a failed, waiting or blocked cleanup now",
		Long: `Retry the cleanups of nodes now, whether they failed, wait for their next attempt or are
blocked. Steps that succeeded are not repeated. The other steps start again with all
their attempts and the newest config.

While a step is running, the request waits until its attempt ends. For a drain, that can
take its whole timeout.

If one node fails, the command continues with the others, and exits with the highest
exit code.`,
		Example: `  # The cause is fixed: continue
  kubectl nodecleanup retry ip-10-0-7 --wait

  # A whole rack
  kubectl nodecleanup retry -l topology.kubernetes.io/rack=r7`,
		Args:              o.Arguments,
		ValidArgsFunction: environment.CompleteNodes,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.AddSelector(cmd.Flags())
	cmd.Flags().BoolVar(&o.Wait, "wait", false, "Follow the cleanup until it is done or needs attention")
	o.AddTimeout(cmd.Flags(), time.Hour)
	return cmd
}

// Validate checks the flags.
func (o *Options) Validate() error {
	return o.ValidateTimeout()
}

// Run requests the retries, and follows the cleanups.
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
	results := o.NewResults(len(nodes) > 1)
	nodes = command.ForEach(results, nodes, 1, hasCleanup)
	if len(nodes) == 0 {
		return results.Err()
	}
	agent, stop := follow.ObserveAgent(ctx, clients.Typed, namespace, o.ServerTime, results.Say)
	defer stop()
	stamp := o.Stamp()
	annotations := map[string]any{api.AnnotationRetryRequestedAt: stamp, api.AnnotationRetryRequestedBy: command.WhoAmI(ctx, clients.Typed)}
	nodes = command.ForEach(results, nodes, 1, func(node *corev1.Node) error {
		if _, err := command.Annotate(ctx, clients.Typed, node, annotations); err != nil {
			return err
		}
		results.Done("node/%s retry requested", node.Name)
		if stepRuns(node, agent.Absent()) {
			results.Progress(node.Name, "A step is running. The retry begins when its attempt ends.")
		}
		return nil
	})
	if !o.Wait {
		if len(nodes) == 1 {
			o.Say("Show the result: kubectl nodecleanup diagnose %s", nodes[0].Name)
		} else if len(nodes) > 1 {
			o.Say("Follow the cleanups: kubectl nodecleanup status -w")
		}
		return results.Err()
	}
	o.follow(ctx, clients.Typed, namespace, results, agent, nodes, stamp)
	return results.Err()
}

// stepRuns reports whether a step of the cleanup runs. After the agent stopped, the condition still says so.
func stepRuns(node *corev1.Node, noLeader bool) bool {
	condition := api.CleanupConditionOf(node)
	return condition != nil && condition.Reason == string(api.Running) && !noLeader
}

// follow follows the cleanups to their end.
func (o *Options) follow(ctx context.Context, client kubernetes.Interface, namespace string, results *command.Results, agent *follow.Agent, nodes []*corev1.Node, stamp string) {
	follow.Each(results, nodes, func(node *corev1.Node) error {
		follower := follow.New(client, namespace, o.Environment, results, agent, node.Name)
		return follower.Until(ctx, node, func(now follow.Snapshot) (bool, error) {
			if now.Node != nil && now.Undecodable != nil {
				return false, nil // The agent begins another record because of this request.
			}
			return follow.Settled(now, node.Name, func(run *api.Run) bool {
				return run.RetryRequestedAt == stamp || run.State.Released()
			})
		})
	}, func(unfinished []*corev1.Node) string {
		again := "kubectl nodecleanup cleanup" // Another retry would give every step all its attempts again.
		for _, node := range unfinished {
			again += " " + node.Name
		}
		return agent.Next("", again+" --wait")
	})
}

// hasCleanup returns an error if the node has no cleanup to retry.
func hasCleanup(node *corev1.Node) error {
	refuse := func(why, next string) error {
		return &exit.Error{Code: exit.Failure, Err: fmt.Errorf("retrying the cleanup of node %s: %s", node.Name, why), Next: next}
	}
	switch {
	case node.DeletionTimestamp != nil && !api.HasFinalizer(node):
		return refuse("nodecleanup does not block its deletion, but other finalizers do: "+strings.Join(node.Finalizers, ", "), "Find the owners of these finalizers: kubectl nodecleanup diagnose "+node.Name)
	case node.DeletionTimestamp == nil && node.Annotations[api.AnnotationCleanupRequestedAt] == "":
		return refuse("it is not being deleted, and no cleanup was requested", "To clean it up: kubectl nodecleanup cleanup "+node.Name)
	}
	return nil
}
