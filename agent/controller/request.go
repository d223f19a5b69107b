package controller

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cordon"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// Messages in the condition of a Node after its cleanup on request.
const (
	readyMessage  = "cleaned up on request: the node stays cordoned; when it is deleted, it is released immediately"
	dryRunMessage = "dry run on request: nothing was changed. A deletion starts from the first step"
)

// requested reports whether there is a request to handle or to cancel for a Node that is
// not deleted: a user requested its cleanup, withdrew that, or our cordon remains.
func (r *reconciler) requested(node *nodecache.Node) bool {
	return node.Annotations[api.AnnotationCleanupRequestedAt] != "" || node.Annotations[api.AnnotationCordonedBy] == api.Agent ||
		r.states.get(node.UID).withdrawn
}

// onRequest decides what follows for a Node that is not deleted.
func (r *reconciler) onRequest(ctx context.Context, c *cleanup) result {
	request := api.CleanupRequestOf(c.node)
	switch {
	case request.At == "":
		if err := r.cancel(ctx, c, "the request was withdrawn"); err != nil {
			return failed(err)
		}
		r.states.update(c.node.UID, func(s *nodeState) { s.withdrawn = false })
		return stop
	case !r.selected(c.node):
		return blocked("the config's nodeSelector excludes this node: a cleanup on request does nothing", nil)
	case !c.record.RequestStands(c.node):
		c.restart(r.Clock.Now())
		by := c.node.Annotations[api.AnnotationCleanupRequestedBy]
		c.record.CleanupRequestedAt, c.record.RequestedPlan = request.At, request.Plan
		c.record.RequestedBy, c.record.RequestedByVerified = by, r.nameVerified(ctx, c, by)
	case c.record.State == api.Canceled:
		return result{stop: true, err: r.uncordon(ctx, c)}
	case c.record.Begun() && !c.record.DryRun && !c.node.Spec.Unschedulable:
		// What was read may be older than our own cordon: the API server answers from a cache
		// that follows its writes.
		current, err := r.readNode(ctx, c, "")
		if err != nil || current == nil || current.DeletionTimestamp != nil || current.Spec.Unschedulable {
			return result{stop: true, err: err}
		}
		return result{stop: true, err: r.cancel(ctx, c, "the node was uncordoned")}
	case c.record.State.Released():
		return stop
	}
	return next
}

// recordFound reconciles a Node whose record is about a request that was withdrawn while no agent
// watched.
func (r *reconciler) recordFound(run *api.Run) {
	node := r.nodes.Get(run.Node)
	if node == nil || node.UID != run.NodeUID || node.DeletionTimestamp != nil || node.Annotations[api.AnnotationCleanupRequestedAt] != "" ||
		run.CleanupRequestedAt == "" || run.State == api.Canceled {
		return
	}
	r.track(node, func(s *nodeState) { s.withdrawn = true })
	r.queue.Add(node.Name)
}

// restart begins a new run; its record replaces the one before.
func (c *cleanup) restart(now time.Time) {
	c.record = api.NewRun(c.node, now)
	c.record.RetryRequestedAt = c.node.Annotations[api.AnnotationRetryRequestedAt]
}

// cancel ends the cleanup of a Node that is not deleted, and removes our cordon. A
// deletion starts from the first step.
func (r *reconciler) cancel(ctx context.Context, c *cleanup, reason string) error {
	return r.end(ctx, c, "canceled: "+reason, nodeevent.CleanupCanceled(reason))
}

// end is cancel with the message of the record and the Event.
func (r *reconciler) end(ctx context.Context, c *cleanup, message string, event nodeevent.Event) error {
	if c.record.CleanupRequestedAt != "" && c.record.State != api.Canceled {
		now := metav1.NewTime(r.Clock.Now())
		c.record.State, c.record.Message, c.record.FinishedAt = api.Canceled, message, &now
		// Save the record first: after an uncordon, the drain no longer counts.
		if err := c.stored.Save(ctx, c.record); err != nil {
			return err
		}
		c.log.Info("cleanup on request canceled", "reason", message)
		c.report.Publish(event)
	}
	return r.uncordon(ctx, c)
}

// uncordon reverts a canceled cleanup: it withdraws the requests of the steps and removes our cordon.
func (r *reconciler) uncordon(ctx context.Context, c *cleanup) error {
	if c.record.State == api.Canceled {
		if err := r.Executor.Withdraw(ctx, c.config.Steps, c.node, c.log); err != nil {
			return err
		}
	}
	if err := cordon.Remove(ctx, r.Client.CoreV1().Nodes(), c.node); err != nil {
		return err
	}
	if c.record.State == api.Canceled {
		r.publish(ctx, c)
	}
	return nil
}

// keepCordoned cordons a Node that is cleaned up on request. On a Node that is deleted,
// the steps decide.
func (r *reconciler) keepCordoned(ctx context.Context, c *cleanup) result {
	if c.terminating() || c.config.DryRun {
		return next
	}
	return failed(cordon.Set(ctx, r.Client.CoreV1().Nodes(), c.node))
}
