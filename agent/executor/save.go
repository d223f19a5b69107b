package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/sleep"
)

// Limits of the retries of a save. The backoff doubles from the first to the last. A restarted API server
// is usually back within saveFor.
const (
	saveFor          = 30 * time.Second
	firstSaveBackoff = 200 * time.Millisecond
	lastSaveBackoff  = 5 * time.Second
)

// saveWithRetry stores the record and retries transient errors. If no result is unsaved and no step is
// running, it returns the first error: then no step would have to run again.
func (r *run) saveWithRetry(ctx context.Context) error {
	began := r.clock.Now()
	for backoff := firstSaveBackoff; ; backoff = min(2*backoff, lastSaveBackoff) {
		err := r.save(ctx)
		if err == nil || ctx.Err() != nil || !r.settled && len(r.running) == 0 || !r.Retriable(err) || r.clock.Since(began)+backoff > saveFor {
			return err
		}
		r.Log.Warn("saving the run record failed, retrying", "in", backoff, "err", err)
		if err := sleep.For(ctx, r.clock, backoff); err != nil {
			return fmt.Errorf("running the cleanup of node %s: %w", r.Node.Name, err)
		}
		if err := r.MayContinue(); err != nil {
			return fmt.Errorf("saving the run record of node %s: %w", r.Node.Name, err)
		}
	}
}

func (r *run) save(ctx context.Context) error {
	r.Record.State, r.Record.Message = r.summarize()
	switch {
	case r.Record.State != api.Succeeded:
		r.Record.FinishedAt = nil
	case r.Record.FinishedAt == nil: // A run that had succeeded before keeps its time.
		now := metav1.NewTime(r.clock.Now())
		r.Record.FinishedAt = &now
	}
	if err := r.Save(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err) // err only says that the context is done.
		}
		return fmt.Errorf("saving the run record of node %s: %w", r.Node.Name, err)
	}
	r.unsaved, r.settled = false, false
	return nil
}
