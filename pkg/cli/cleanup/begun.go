package cleanup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// request is a cleanup that was requested, by this command or before.
type request struct {
	node *corev1.Node
	// asked is zero for a node that is being deleted.
	asked api.CleanupRequest
	// plan is the hash of the only plan that this command accepts, empty for any.
	plan string
}

// since names the time and the user of the earlier request.
func (r request) since() string {
	if r.asked.At == "" {
		return "is already being deleted"
	}
	if by := r.node.Annotations[api.AnnotationCleanupRequestedBy]; by != "" {
		return "cleanup already requested by " + by
	}
	return "cleanup already requested"
}

// divide separates the nodes that need a request from the nodes whose requested cleanup has not
// ended: a second request would start it again. It adds rejected nodes to results.
func (o *Options) divide(ctx context.Context, client kubernetes.Interface, namespace string, results *command.Results, nodes []*corev1.Node) (fresh []*corev1.Node, begun []request) {
	command.ForEach(results, nodes, 1, func(node *corev1.Node) error {
		one := request{node: node, plan: o.Plan}
		if node.DeletionTimestamp != nil {
			if !api.HasFinalizer(node) || o.Plan != "" || !o.Wait && !o.Delete {
				return beingDeleted(node)
			}
			begun = append(begun, one)
			return nil
		}
		if one.asked = api.CleanupRequestOf(node); one.asked.At == "" {
			fresh = append(fresh, node)
			return nil
		}
		run, err := cluster.RunOf(ctx, client, namespace, node)
		decoding := &api.RecordError{}
		switch {
		case errors.As(err, &decoding), err == nil && !o.attaches(node, run):
			fresh = append(fresh, node)
			return nil
		case err != nil:
			return err
		case o.Plan != "" && one.asked.Plan != o.Plan:
			return anotherPlan(node, o.Plan)
		case o.Delete:
			if err := o.deletable(ctx, client, node, true); err != nil {
				return err
			}
		}
		begun = append(begun, one)
		return nil
	})
	return fresh, begun
}

// attaches reports whether the command follows the cleanup of a node that was requested before.
// One that failed starts again.
func (o *Options) attaches(node *corev1.Node, run *api.Run) bool {
	if run == nil || !run.RequestStands(node) {
		return true // No agent has begun it yet.
	}
	switch run.State {
	case api.Failed, api.Canceled, api.Bypassed:
		return false
	case api.Succeeded:
		// Uncordoned, it is about to be canceled.
		return (o.Wait || o.Delete) && !run.DryRun && node.Spec.Unschedulable
	}
	return true
}

// beingDeleted refuses a node that is being deleted.
func beingDeleted(node *corev1.Node) error {
	return &exit.Error{
		Code: exit.Failure,
		Err:  fmt.Errorf("cleaning up node %s: it is being deleted, so its cleanup is already in progress", node.Name),
		Next: fmt.Sprintf("Follow it: kubectl nodecleanup cleanup %s --wait. To retry now: kubectl nodecleanup retry %[1]s", node.Name),
	}
}

// anotherPlan refuses a plan because the cleanup that was requested before is not by this plan.
func anotherPlan(node *corev1.Node, hash string) error {
	already := request{node: node, asked: api.CleanupRequestOf(node)}
	by := "any plan"
	if already.asked.Plan != "" {
		by = "plan " + already.asked.Plan
	}
	return &exit.Error{
		Code: exit.Failure,
		Err:  fmt.Errorf("cleaning up node %s by plan %s: %s, and it runs %s; this command requested nothing", node.Name, hash, already.since(), by),
		Next: fmt.Sprintf("Follow that cleanup: kubectl nodecleanup cleanup %s --wait", node.Name),
	}
}

func names(requests []request) string {
	var all []string
	for _, one := range requests {
		all = append(all, one.node.Name)
	}
	slices.Sort(all) // They ended in any order.
	return strings.Join(all, " ")
}

// pronoun refers to the nodes that counted names.
func pronoun(requests []request) string {
	if len(requests) == 1 {
		return "it"
	}
	return "them"
}

// counted names the nodes of a question, or counts them.
func counted(requests []request) string {
	if len(requests) == 1 {
		return "node " + requests[0].node.Name
	}
	return fmt.Sprintf("%d nodes (%s)", len(requests), names(requests))
}
