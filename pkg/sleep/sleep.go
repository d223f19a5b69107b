// Package sleep waits for a time that a context can end.
package sleep

import (
	"context"
	"time"

	"k8s.io/utils/clock"
)

// For returns nil after a time of the clock, or the cause of the end of the context, whichever is first.
func For(ctx context.Context, clock clock.Clock, length time.Duration) error {
	timer := clock.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C():
		return nil
	}
}
