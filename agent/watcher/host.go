package watcher

import (
	"context"
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// hostChanged holds a Node whose cleanup is done when its host started anew
// meanwhile, or another one took its name: the kubelet found the terminating
// Node, took itself for registered, and never registers again once the Node is
// gone. A retry request says that somebody took care of that; so does a bypass.
func (c *cleanup) hostChanged(ctx context.Context, bypassed bool) (held bool, err error) {
	was, is := c.record.Host, api.HostOf(c.node)
	if bypassed || c.record.State != api.Succeeded || !was.Changed(is) {
		return false, nil
	}
	if requested := c.node.Annotations[api.AnnotationRetryRequestedAt]; requested != "" && requested != c.record.RetryRequestedAt {
		c.log.Info("the host that came back is left to itself on request", "requestedAt", requested)
		c.record.RetryRequestedAt, c.record.Host = requested, is
		return false, c.stored.Save(ctx, c.record)
	}
	message := fmt.Sprintf("the cleanup is done, but the host started anew meanwhile, or another one took its name (%s). "+
		"Its kubelet takes itself for registered and would not register again once this node is gone. "+
		"Stop it, then: kubectl nodecleanup retry %s. Start it again when the node is gone", was.Difference(is), c.node.Name)
	if told := api.Cleanup(c.node); told == nil || told.Message != message {
		c.log.Warn("the host came back during its cleanup, the node is held", "difference", was.Difference(is))
		c.report.HostChanged(message)
	}
	return true, c.stays(ctx, message)
}
