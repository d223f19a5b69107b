package controller

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// checkHost holds a Node whose host rebooted or was replaced during the cleanup: the
// kubelet found the terminating Node, takes itself for registered, and does not register
// again once the Node is deleted. A retry request says that somebody took care of it.
func (r *reconciler) checkHost(ctx context.Context, c *cleanup) result {
	if current := r.cached(c.node.Name); current == nil || current.ResourceVersion != c.node.ResourceVersion {
		node, err := r.Client.CoreV1().Nodes().Get(ctx, c.node.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && node.UID != c.node.UID:
			return stop()
		case err != nil:
			return failed(fmt.Errorf("reading node %s: %w", c.node.Name, err))
		}
		c.node = node
	}
	was, is := c.record.Host, api.HostOf(c.node)
	if !was.Changed(is) {
		return next
	}
	difference := was.Difference(is)
	if requested := c.node.Annotations[api.AnnotationRetryRequestedAt]; requested != "" && requested != c.record.RetryRequestedAt {
		c.log.Info("the host that came back is ignored on request", "requestedAt", requested)
		c.record.RetryRequestedAt, c.record.Host = requested, is
		return failed(c.stored.Save(ctx, c.record))
	}
	message := fmt.Sprintf("the host rebooted or was replaced during the cleanup (%s). Its kubelet will not register again after this node is deleted. "+
		"Stop the kubelet, then run: kubectl nodecleanup retry %s. Start the kubelet again when the node is deleted", difference, c.node.Name)
	if condition := api.Cleanup(c.node); condition == nil || condition.Message != message {
		c.log.Warn("the host came back during its cleanup, the node is held", "difference", difference)
		c.report.Publish(report.HostChanged(message))
	}
	return result{stop: true, err: r.publishHeld(ctx, c, message)}
}

// publishHeld shows a Node as Blocked although its record says that its steps are done.
func (r *reconciler) publishHeld(ctx context.Context, c *cleanup, message string) error {
	r.note(c.record)
	r.states.update(c.node.UID, func(s *nodeState) { s.block(c.record.StartedAt.Time) })
	shown := *c.record
	shown.State, shown.Message = api.Blocked, message
	return c.report.Run(ctx, &shown)
}
