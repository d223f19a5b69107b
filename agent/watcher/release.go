package watcher

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// release takes our finalizer off a Node whose record says that nothing holds it.
func (c *cleanup) release(ctx context.Context) error {
	if err := c.removeFinalizer(ctx, c.node); err != nil {
		return err
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

// bypass records that an operator let the Node go, and lets it go.
func (c *cleanup) bypass(ctx context.Context, reason string) error {
	message := "bypassed by an operator: " + reason
	if reason == "" {
		message = "bypassed by an operator who gave no reason"
	}
	c.record.BypassReason = reason
	return c.finish(ctx, api.Bypassed, message)
}

// finish records the end of the cleanup before the finalizer goes.
func (c *cleanup) finish(ctx context.Context, state api.State, message string) error {
	now := metav1.NewTime(c.Clock.Now())
	c.record.State, c.record.Message, c.record.FinishedAt = state, message, &now
	if err := c.save(ctx, c.record); err != nil {
		return err
	}
	return c.release(ctx)
}
