package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// call calls one method of a plugin, such as Cleanup, or Preview for a dry run.
type call func(ctx context.Context, plugin cleanup.Plugin, target cleanup.Target) (effects []cleanup.Effect, err error)

func cleanUp(ctx context.Context, plugin cleanup.Plugin, target cleanup.Target) ([]cleanup.Effect, error) {
	return nil, plugin.Cleanup(ctx, target)
}

func preview(ctx context.Context, plugin cleanup.Plugin, target cleanup.Target) ([]cleanup.Effect, error) {
	previewer, can := plugin.(cleanup.Previewer)
	if !can {
		return []cleanup.Effect{{Action: cleanup.Unknown, Reason: "the plugin does not support previews"}}, nil
	}
	return previewer.Preview(ctx, target)
}

// asUnknownEffect replaces the error of a preview by an effect with action Unknown: a dry run never
// blocks the release of a Node, even if a plugin fails, panics or does not return.
func asUnknownEffect(done result) result {
	if done.err != nil {
		done.effects, done.err = append(done.effects, cleanup.Effect{Action: cleanup.Unknown, Reason: "preview failed: " + done.err.Error()}), nil
	}
	return done
}

func (r *run) target(step config.Step, attempt int) cleanup.Target {
	return cleanup.Target{
		Node:           r.Node,
		Step:           step.Name,
		DeletedBy:      r.Record.Requester(),
		Attempt:        attempt,
		Began:          r.Record.Step(step.Name).StartedAt.Time,
		IdempotencyKey: string(r.Node.UID) + "/" + step.Name,
		Log:            r.Log.With("step", step.Name, "attempt", attempt),
		Progress:       func(text string) { r.progress.setText(step.Name, shorten(r.redact(text))) },
		Counted: func(counts cleanup.Counts) {
			counts.Blocked = shorten(r.redact(counts.Blocked))
			r.progress.setCounts(step.Name, counts)
		},
		Outputs:  outputsOf(r.Record),
		Recorded: r.recorderOf(r.Record.Step(step.Name)),
	}
}

// cutOffAfter is how long the executor waits for a plugin that it has cancelled. After that, the attempt
// fails, although the goroutine of the plugin may still run.
const cutOffAfter = 5 * time.Second

// timeoutError is the cause of the context of an attempt that timed out. It names the option that set
// the limit.
type timeoutError struct {
	step  config.Step
	limit time.Duration
}

// Error implements error.
func (e *timeoutError) Error() string {
	if e.limit < e.step.Timeout {
		return fmt.Sprintf("step %s did not finish within %s, the remainder of its totalTimeout of %s", e.step.Name, e.limit.Round(time.Second), e.step.TotalTimeout)
	}
	return fmt.Sprintf("step %s did not finish within %s", e.step.Name, e.limit)
}

// Unwrap makes it a context.DeadlineExceeded.
func (e *timeoutError) Unwrap() error { return context.DeadlineExceeded }

// attempt calls the plugin once, with a time limit. It converts a panic to a permanent error.
func (e *Executor) attempt(ctx context.Context, call call, step config.Step, target cleanup.Target, limit time.Duration) result {
	began := e.clock.Now()
	ended := func(effects []cleanup.Effect, err error) result {
		return result{step: step, took: e.clock.Since(began), effects: effects, err: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &timeoutError{step, limit})
	defer cancel()
	returned := make(chan result, 1)
	go func() {
		defer func() {
			if reason := recover(); reason != nil {
				target.Log.Error("plugin panicked", "plugin", step.Plugin, "reason", reason, "stack", string(debug.Stack()))
				returned <- ended(nil, cleanup.Permanent(fmt.Errorf("plugin %s panicked: %v", step.Plugin, reason)))
			}
		}()
		returned <- ended(call(ctx, step.Bound, target))
	}()
	select {
	case result := <-returned:
		result.err = explain(ctx, result.err)
		return result
	case <-ctx.Done():
	}
	cutOff := e.clock.NewTimer(cutOffAfter)
	defer cutOff.Stop()
	select {
	case result := <-returned:
		result.err = explain(ctx, result.err)
		return result
	case <-cutOff.C():
		return ended(nil, fmt.Errorf("%w, and plugin %s did not stop when it was cancelled", context.Cause(ctx), step.Plugin))
	}
}

// callOnce calls a method of a plugin once, outside of a run. Its limit is independent of the step's timeouts.
func (e *Executor) callOnce(ctx context.Context, call call, step config.Step, node *corev1.Node, log *slog.Logger, limit time.Duration) result {
	step.Timeout = limit // A timeoutError must not name the totalTimeout.
	return e.attempt(ctx, call, step, cleanup.Target{
		Node: node, Step: step.Name, Attempt: 1, Began: e.clock.Now(), IdempotencyKey: string(node.UID) + "/" + step.Name,
		Log: log.With("step", step.Name), Progress: func(string) {},
	}, limit)
}

// explain adds the cause of the attempt's context to an error that only says that a context is done.
func explain(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil || err == nil || errors.Is(err, cause):
		return err
	case err == context.Canceled || err == context.DeadlineExceeded:
		return cause
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// limit returns the time limit of an attempt that begins now. An attempt that an outage of the agent has
// delayed beyond totalTimeout still has the time of the step's timeout.
func (r *run) limit(step config.Step) time.Duration {
	if left := r.remaining(step); step.TotalTimeout > 0 && left > 0 {
		return min(step.Timeout, left)
	}
	return step.Timeout
}

// remaining returns the rest of the step's totalTimeout.
func (r *run) remaining(step config.Step) time.Duration {
	return r.Record.Step(step.Name).StartedAt.Add(step.TotalTimeout).Sub(r.clock.Now())
}

// retryDelay returns the wait before the next attempt, and whether there is a next attempt.
func (r *run) retryDelay(step config.Step, failures int, err error) (time.Duration, bool) {
	if cleanup.IsPermanent(err) || failures > step.Retry.MaxRetries {
		return 0, false
	}
	delay := float64(step.Retry.InitialDelay) * math.Pow(step.Retry.BackoffFactor, float64(failures-1))
	delay *= 1 + step.Retry.Jitter*r.random()
	delay = min(delay, float64(step.Retry.MaxDelay)) // After the jitter: no backoff exceeds maxDelay.
	wanted, _ := cleanup.RetryDelay(err)
	wait := max(time.Duration(delay), wanted)
	return wait, step.TotalTimeout == 0 || wait < r.remaining(step)
}
