package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/report"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// release removes our finalizer from a Node whose record says why it may be deleted.
func (r *reconciler) release(ctx context.Context, c *cleanup) result {
	if _, err := r.patchFinalizer(ctx, c.node, "removing", "$deleteFromPrimitiveList/finalizers"); err != nil {
		return failed(errors.Join(err, r.publishUnreleased(ctx, c, err)))
	}
	r.states.update(c.node.UID, func(s *nodeState) { s.released = true })
	if c.record.State == api.Bypassed {
		c.report.Publish(report.CleanupBypassed(c.record.BypassReason))
	} else {
		c.report.Publish(report.CleanupCompleted(c.record))
	}
	c.log.Info("node released", "state", c.record.State, "otherFinalizers", strings.Join(api.OtherFinalizers(c.node), ","))
	return stop()
}

// publishUnreleased publishes on the Node why it stays although its cleanup is done.
func (r *reconciler) publishUnreleased(ctx context.Context, c *cleanup, err error) error {
	var invalid invalidError
	if r.Fence() != nil || ctx.Err() != nil || errors.As(err, &invalid) {
		return nil // The next leader publishes, or no condition can be written either.
	}
	return r.publishHeld(ctx, c, fmt.Sprintf("the cleanup is over, but the finalizer cannot be removed, trying again: %v. "+
		"If that is forbidden, `kubectl nodecleanup check` names the missing right or the policy", err))
}
