package watcher

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
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

// deadline acts on a cleanup that takes longer than config allows. It reports
// whether the Node was released.
func (c *cleanup) deadline(ctx context.Context) (bool, error) {
	if c.config.Deadline.After == 0 || c.untilDeadline(0) > 0 {
		return false, nil
	}
	release := c.config.Deadline.Action == config.Release
	if !c.record.DeadlinePassed {
		c.log.Warn("deadline passed", "deadline", c.config.Deadline.After, "action", c.config.Deadline.Action)
		c.report.CleanupDeadline(c.config.Deadline.After, release)
		c.record.DeadlinePassed = true
	}
	if !release {
		return false, nil
	}
	c.record.BypassReason = fmt.Sprintf("the config's deadline of %s", c.config.Deadline.After)
	return true, c.finish(ctx, api.Bypassed, "released with what was done: "+c.record.BypassReason)
}

// untilDeadline returns the time that is left until the deadline, or other where
// that is sooner or there is no deadline. An other of 0 means none.
func (c *cleanup) untilDeadline(other time.Duration) time.Duration {
	if c.config.Deadline.After == 0 {
		return other
	}
	from := c.record.StartedAt.Time
	if c.node.DeletionTimestamp != nil {
		from = c.node.DeletionTimestamp.Time
	}
	left := from.Add(c.config.Deadline.After).Sub(c.Clock.Now())
	if left <= 0 || other > 0 && other < left {
		return other
	}
	return left
}
