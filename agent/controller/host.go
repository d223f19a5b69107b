package controller

import (
	"context"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// checkHost holds a Node whose host rebooted or was replaced during the cleanup: the
// kubelet found the terminating Node, takes itself for registered, and does not register
// again once the Node is deleted. A retry request says that an operator took care of it, but only one
// that was made after the Node was held for this: an earlier one asked for something else.
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
		c.log.Info("the host that came back is ignored on request", "requestedAt", requested)
		c.record.RetryRequestedAt, c.record.Host, c.record.HostDifference = requested, is, ""
		return failed(c.stored.Save(ctx, c.record))
	}
	message := fmt.Sprintf("the host rebooted or was replaced during the cleanup (%s). Its kubelet will not register again after this node is deleted. "+
		"Stop the kubelet, then run: kubectl nodecleanup retry %s. Start the kubelet again when the node is deleted", difference, c.node.Name)
	if condition := api.CleanupConditionOf(c.node); condition == nil || condition.Message != message {
		c.log.Warn("the host came back during its cleanup, the node is held", "difference", difference)
		c.report.Publish(nodeevent.HostChanged(message))
	}
	return result{stop: true, err: r.publishHeld(ctx, c, message)}
}

// publishHeld shows a Node as Blocked although its record says that its steps are done.
func (r *reconciler) publishHeld(ctx context.Context, c *cleanup, message string) error {
	r.note(c.record)
	r.states.update(c.node.UID, func(s *nodeState) { s.state = api.Blocked })
	return c.show(ctx, api.Blocked, message)
}
