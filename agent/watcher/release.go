package watcher

import (
	"context"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// release takes our finalizer off a Node whose record says that nothing holds it.
func (c *cleanup) release(ctx context.Context) error {
	removed, err := c.remove(ctx)
	if errors.Is(err, errWritten) {
		c.log.Info("looking at the node again before it is released", "why", err)
		return nil // The informer is about to say so: unchanged has seen it as it was before.
	}
	if err == nil && !removed {
		err = c.removeFinalizer(ctx, c.node)
	}
	if err != nil {
		return errors.Join(err, c.notReleased(ctx, err))
	}
	c.released.Store(c.node.UID, struct{}{})
	if c.record.State == api.Bypassed {
		c.report.CleanupBypassed(c.record.BypassReason)
	} else {
		c.report.CleanupCompleted(c.record)
	}
	c.log.Info("node released", "state", c.record.State, "othersHolding", strings.Join(api.OtherFinalizers(c.node), ","))
	return nil
}

// notReleased says on the Node why it stays although its cleanup is over.
func (c *cleanup) notReleased(ctx context.Context, err error) error {
	var invalid invalidError
	if c.Fence() != nil || ctx.Err() != nil || errors.As(err, &invalid) {
		return nil // It is for the next leader, or no condition can be written either.
	}
	return c.stays(ctx, fmt.Sprintf("the cleanup is over, but the finalizer cannot be taken off, trying again: %v. "+
		"Where that is forbidden: kubectl nodecleanup check names the right that is missing, or the policy", err))
}

// stays shows a Node as Blocked whose record says that it may go, which stands.
func (c *cleanup) stays(ctx context.Context, message string) error {
	c.standing.held(c.record)
	shown := *c.record
	shown.State, shown.Message = api.Blocked, message
	return c.report.Run(ctx, &shown)
}

// bypass records that an operator let the Node go, and lets it go.
func (c *cleanup) bypass(ctx context.Context, reason string) error {
	message := "bypassed by an operator: " + reason
	if reason == "" {
		message = "bypassed by an operator who gave no reason"
	}
	c.record.BypassReason = reason
	return c.finish(ctx, api.Bypassed, message, true)
}

// finish records the end of the cleanup before the finalizer goes. Where no record can be
// written, anyway says that the Node goes all the same, as an operator's own word has it:
// the log and the Event are the record then.
func (c *cleanup) finish(ctx context.Context, state api.State, message string, anyway bool) error {
	now := metav1.NewTime(c.Clock.Now())
	c.record.State, c.record.Message, c.record.FinishedAt = state, message, &now
	if err := c.save(ctx, c.record); err != nil {
		if !anyway || !api.Refused(err) {
			return err
		}
		c.log.Error("the bypass cannot be recorded, the node goes all the same", "reason", c.record.BypassReason, "err", err)
	}
	return c.release(ctx)
}
