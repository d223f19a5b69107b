package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// A save is tried for so long, with a backoff that doubles: an API server that is restarted is
// back by then.
const (
	saveFor          = 30 * time.Second
	firstSaveBackoff = 200 * time.Millisecond
	lastSaveBackoff  = 5 * time.Second
)

// saveWithRetry is save for what the next thing, or the end of the run, depends on. It gives up
// at once only where nothing is lost with the run: what steps did that have ended or still
// run would have to be done again.
func (r *run) saveWithRetry(ctx context.Context) error {
	began := r.clock.Now()
	for backoff := firstSaveBackoff; ; backoff = min(2*backoff, lastSaveBackoff) {
		err := r.save(ctx)
		if err == nil || ctx.Err() != nil || !r.settled && len(r.running) == 0 || !r.Retriable(err) || r.clock.Since(began)+backoff > saveFor {
			return err
		}
		r.Log.Warn("the run record cannot be saved, trying again", "in", backoff, "err", err)
		timer := r.clock.NewTimer(backoff)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("running the cleanup of node %s: %w", r.Node.Name, context.Cause(ctx))
		case <-timer.C():
		}
		if err := r.MayContinue(ctx); err != nil {
			return fmt.Errorf("saving the run record of node %s: %w", r.Node.Name, err)
		}
	}
}

func (r *run) save(ctx context.Context) error {
	r.Record.State, r.Record.Message = r.summarize()
	switch {
	case r.Record.State != api.Succeeded:
		r.Record.FinishedAt = nil
	case r.Record.FinishedAt == nil: // A run that was done already stays as it is recorded.
		now := metav1.NewTime(r.clock.Now())
		r.Record.FinishedAt = &now
	}
	if err := r.Save(ctx, r.Record); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err) // It tells no more than that the context is done.
		}
		return fmt.Errorf("saving the run record of node %s: %w", r.Node.Name, err)
	}
	r.unsaved, r.settled = false, false
	return nil
}
