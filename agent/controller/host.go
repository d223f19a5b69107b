package controller

import (
	"context"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// checkHost blocks the release if the host rebooted or was replaced during the cleanup. The kubelet
// found the terminating Node and will not register again after its deletion. A retry request that is
// newer than the block confirms that an operator handled it.
func (r *reconciler) checkHost(ctx context.Context, c *cleanup) result {
	if current := r.nodes.Get(c.node.Name); current == nil || current.ResourceVersion != c.node.ResourceVersion {
		node, err := r.readNode(ctx, c, "")
		if err != nil || node == nil {
			return result{stop: true, err: err}
		}
		c.node = node
	}
	was, is := c.record.Host, api.HostOf(c.node)
	if !was.Changed(is) {
		return next
	}
	difference := was.Difference(is)
	requested := c.node.Annotations[api.AnnotationRetryRequestedAt]
	if c.record.HostDifference != difference {
		c.record.HostDifference, c.record.RetryRequestedAt = difference, requested
		if err := c.stored.Save(ctx, c.record); err != nil {
			return failed(err)
		}
	}
	if requested != "" && requested != c.record.RetryRequestedAt {
		c.log.Info("retry requested: ignoring the host change", "requestedAt", requested)
		c.record.RetryRequestedAt, c.record.Host, c.record.HostDifference = requested, is, ""
		return failed(c.stored.Save(ctx, c.record))
	}
	message := fmt.Sprintf("the host rebooted or was replaced during the cleanup (%s). Its kubelet will not register again after this node is deleted. "+
		"Stop the kubelet, then run: kubectl nodecleanup retry %s. Start the kubelet again when the node is deleted", difference, c.node.Name)
	if condition := api.CleanupConditionOf(c.node); condition == nil || condition.Message != message {
		c.log.Warn("the host rebooted or was replaced during the cleanup; the node is not released", "difference", difference)
		c.report.Publish(nodeevent.HostChanged(message))
	}
	return result{stop: true, err: r.publishBlocked(ctx, c, message)}
}

// publishBlocked shows a Node as Blocked although the steps in its record are done.
func (r *reconciler) publishBlocked(ctx context.Context, c *cleanup, message string) error {
	r.note(c.record)
	r.states.update(c.node.UID, (*nodeState).hold)
	return c.show(ctx, api.Blocked, message)
}
