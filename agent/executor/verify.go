package executor

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// verifyDone calls the Verifiers of the succeeded steps once no other step remains. The cluster may
// have changed after a step succeeded: the Node was uncordoned, and Pods were scheduled to it. A step
// that is no longer done counts as failed, and is retried as after any other error. So two
// controllers that undo each other's work stop in the end.
//
// verifyDone does the same after a step has failed, because that step may wait for another one:
// volumes waits for Pods that were scheduled to an uncordoned Node. Then only a step that is certainly
// no longer done runs again. The error is that of ctx.
func (r *run) verifyDone(ctx context.Context) error {
	state, _ := r.summarize()
	last := state == api.Succeeded
	if r.previews || len(r.running) > 0 || !last && !r.failed {
		return nil
	}
	r.failed = false
	for _, step := range r.steps {
		record := r.Record.Step(step.Name)
		if _, can := step.Bound.(cleanup.Verifier); !can || record.State != api.StepSucceeded {
			continue
		}
		now := metav1.NewTime(r.clock.Now())
		if record.StartedAt == nil { // A user has edited the record.
			record.StartedAt = &now
		}
		done := r.attempt(ctx, verify, step, r.target(step, record.Attempts), step.Timeout)
		if ctx.Err() != nil {
			return fmt.Errorf("running the cleanup of node %s: %w", r.Node.Name, context.Cause(ctx))
		}
		if done.err != nil && (last || errors.As(done.err, new(undoneError))) {
			r.Log.Warn("a step that was done has to run again", "step", step.Name, "err", done.err)
			record.Reason = shorten("ran again: " + r.redact(done.err.Error())) // The next success clears the error, but not the reason.
			// totalTimeout, and forceAfter of a drain, count from here: the step had succeeded before.
			record.StartedAt = &now
			r.fail(record, done)
			r.unsaved = true
		}
	}
	r.clearBlockedRetries()
	return nil
}

// undoneError is why a step is no longer done.
type undoneError string

// Error implements error.
func (e undoneError) Error() string { return "no longer done: " + string(e) }

// verify calls a Verifier.
func verify(ctx context.Context, plugin cleanup.Plugin, target cleanup.Target) ([]cleanup.Effect, error) {
	undone, err := plugin.(cleanup.Verifier).Verify(ctx, target)
	switch {
	case err != nil:
		return nil, fmt.Errorf("verifying that the step is still done: %w", err)
	case undone != "":
		return nil, undoneError(undone)
	}
	return nil, nil
}
