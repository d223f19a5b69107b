package cleanup

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/follow"
)

// untilCleanedUp follows a node until the cleanup that was requested has ended.
func untilCleanedUp(ctx context.Context, follower follow.Follower, node *corev1.Node, stamp string) error {
	return follower.Until(ctx, node, func(now follow.Cleanup) (bool, error) {
		if now.Node != nil && now.Node.Annotations[api.AnnotationCleanupRequestedAt] != stamp {
			return false, &exit.Error{
				Code: exit.Failure,
				Err:  fmt.Errorf("cleaning up node %s: the request was withdrawn or replaced", node.Name),
				Next: "See its state: kubectl nodecleanup diagnose " + node.Name,
			}
		}
		return follow.Settled(now, node.Name, func(run *api.Run) bool { return run.CleanupRequestedAt == stamp })
	})
}

// finish deletes a node that is cleaned up where that is wanted.
func (o *Options) finish(ctx context.Context, client kubernetes.Interface, follower follow.Follower, results *command.Results, node *corev1.Node) error {
	if !o.Delete {
		results.Done("node/%s cleaned up; it stays cordoned until it is deleted", node.Name)
		return nil
	}
	if err := deleteCleaned(ctx, client, follower, node); err != nil {
		return err
	}
	results.Done("node/%s cleaned up and deleted", node.Name)
	return nil
}

// deleteCleaned deletes a node that is cleaned up, and waits until it does not exist any more.
func deleteCleaned(ctx context.Context, client kubernetes.Interface, follower follow.Follower, node *corev1.Node) error {
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
	return nil
}
