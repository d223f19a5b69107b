package cleanup

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/follow"
)

// follow follows the cleanups to their end, and deletes the nodes if requested.
func (o *Options) follow(ctx context.Context, client kubernetes.Interface, namespace string, results *command.Results, agent *follow.Agent, requests []request) {
	done := follow.Each(results, requests, func(one request) error {
		follower := follow.New(client, namespace, o.Environment, results, agent, one.node.Name)
		if err := untilCleanedUp(ctx, follower, one); err != nil {
			return err
		}
		return o.finish(ctx, client, follower, results, one)
	}, func(unfinished []request) string { return o.resume(agent, unfinished) })
	if undeleted := slices.DeleteFunc(done, func(one request) bool { return o.Delete || one.asked.At == "" }); len(undeleted) > 0 {
		results.Say("Next:  kubectl delete node %s", names(undeleted))
	}
}

// resume describes the state of unfinished cleanups, and names the command that waits for them
// again.
func (o *Options) resume(agent *follow.Agent, unfinished []request) string {
	alive := slices.DeleteFunc(slices.Clone(unfinished), func(one request) bool { return one.asked.At == "" })
	only := ""
	if o.Plan != "" {
		only = " --plan " + o.Plan
	}
	again, stays := "kubectl nodecleanup cleanup "+names(unfinished)+only+" --wait", ""
	if o.Delete {
		again = "kubectl nodecleanup cleanup " + names(unfinished) + only + " --delete"
		if len(alive) > 0 {
			stays = "Afterwards it deletes no node. "
			again += " --yes"
		}
	}
	text := agent.Next(stays, again)
	if len(alive) > 0 {
		text += ". To withdraw the request: " + withdraw(alive)
	}
	return text
}

// untilCleanedUp follows a node until the cleanup that was requested has ended.
func untilCleanedUp(ctx context.Context, follower follow.Follower, one request) error {
	return follower.Until(ctx, one.node, func(now follow.Snapshot) (bool, error) {
		if one.asked.At == "" {
			return follow.Settled(now, one.node.Name, func(run *api.Run) bool { return run.DeletionRequestedAt != nil })
		}
		if now.Node != nil && api.CleanupRequestOf(now.Node) != one.asked {
			return false, replaced(now.Node)
		}
		answers := func(run *api.Run) bool { return run.CleanupRequestedAt == one.asked.At }
		if now.Run != nil && answers(now.Run) {
			if err := one.compare(now.Run); err != nil {
				return false, err
			}
		}
		done, err := follow.Settled(now, one.node.Name, answers)
		if done && err == nil {
			err = one.compare(now.Run)
		}
		return done, err
	})
}

// replaced is the error of a request that the node does not have any more.
func replaced(node *corev1.Node) error {
	what := "was withdrawn"
	if now := (request{node: node, asked: api.CleanupRequestOf(node)}); now.asked.At != "" {
		what = "was replaced: " + now.since()
		if now.asked.Plan != "" {
			what += ", by plan " + now.asked.Plan
		}
	}
	return &exit.Error{
		Code: exit.Failure,
		Err:  fmt.Errorf("cleaning up node %s: the request %s", node.Name, what),
		Next: "Show its state: kubectl nodecleanup diagnose " + node.Name,
	}
}

// compare returns an error if the run that answers the request is not by its plan.
func (r request) compare(run *api.Run) error {
	var what string
	switch {
	case r.plan == "" || run != nil && run.RequestedPlan == r.plan:
		return nil
	case run == nil:
		what = "there is no run record that says which plan ran"
	case run.DeletionRequestedAt != nil:
		what = "the node was deleted, and its cleanup then runs any plan"
	default:
		what = "the agent does not compare plans, and runs any plan"
	}
	return &exit.Error{
		Code: exit.Failure,
		Err:  fmt.Errorf("cleaning up node %s by plan %s: %s", r.node.Name, r.plan, what),
		Next: "Show what was done: kubectl nodecleanup history " + r.node.Name + " -o wide. If the agent is older than the CLI, upgrade it: kubectl nodecleanup upgrade",
	}
}

// finish deletes a cleaned up node if requested.
func (o *Options) finish(ctx context.Context, client kubernetes.Interface, follower follow.Follower, results *command.Results, one request) error {
	switch {
	case !o.Delete && one.asked.At == "":
		results.Done("node/%s cleaned up and released", one.node.Name)
		return nil
	case !o.Delete:
		results.Done("node/%s cleaned up; it stays cordoned until it is deleted", one.node.Name)
		return nil
	}
	if err := deleteCleaned(ctx, client, follower, one); err != nil {
		return err
	}
	results.Done("node/%s cleaned up and deleted", one.node.Name)
	return nil
}

// deleteCleaned deletes a node that is cleaned up, and waits until it does not exist any more.
func deleteCleaned(ctx context.Context, client kubernetes.Interface, follower follow.Follower, one request) error {
	node := one.node
	err := follower.Retry(ctx, func(ctx context.Context) error {
		return client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &node.UID}})
	})
	if ctx.Err() != nil {
		return fmt.Errorf("deleting node %s after its cleanup: it is not known whether the API server received the request; see kubectl get node %[1]s: %w", node.Name, ctx.Err())
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return &exit.Error{
			Code: exit.Failure,
			Err:  fmt.Errorf("deleting node %s after its cleanup: %w", node.Name, err),
			Next: fmt.Sprintf("Delete the cleaned node when the cause is fixed; it is removed immediately: kubectl delete node %s", node.Name),
		}
	}
	err = follower.Until(ctx, node, func(now follow.Snapshot) (bool, error) {
		if now.Node != nil {
			return false, nil
		}
		// Uncordoned in the meantime, it was cleaned up again, and that may have been bypassed.
		done, err := follow.Settled(now, node.Name, nil)
		if err == nil {
			err = one.compare(now.Run)
		}
		return done, err
	})
	if ended := follow.Unfinished(err); ended != nil && ended.Next == "" {
		ended.Next = fmt.Sprintf("The deletion was accepted. To see what blocks it: kubectl nodecleanup diagnose %s. To wait until it is deleted: kubectl wait --for=delete node/%[1]s", node.Name)
	}
	if err != nil {
		return fmt.Errorf("waiting for the deletion of node %s: %w", node.Name, err)
	}
	return nil
}
