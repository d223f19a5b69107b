package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

func TestBackoffGrowsAndReleasesTheWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		calls := 0
		step := b.step("a", func(_ context.Context, target cleanup.Target) error {
			if calls++; target.Attempt != calls {
				t.Errorf("call %d is attempt %d", calls, target.Attempt)
			}
			return fmt.Errorf("try %d", calls)
		}, retries(2))
		for _, delay := range []time.Duration{10 * time.Second, 20 * time.Second} {
			outcome, err := b.run(t.Context(), 1, step)
			b.expect(outcome, err, api.Waiting)
			if wait := time.Until(outcome.RetryAt); wait != delay {
				t.Errorf("waits %s, want %s", wait, delay)
			}
			<-time.After(delay)
		}
		outcome, err := b.run(t.Context(), 1, step)
		b.expect(outcome, err, api.Failed)
		if calls != 3 || outcome.Message != "critical step a failed, attempt 3: try 3" {
			t.Errorf("%d calls, %q", calls, outcome.Message)
		}
		b.record.Reset() // An operator has requested a retry.
		outcome, err = b.run(t.Context(), 1, step)
		b.expect(outcome, err, api.Waiting)
		if at := outcome.RetryAt.UTC().Format(time.RFC3339); calls != 4 || outcome.Message != "step a failed, attempt 4, and is retried at "+at+": try 4" {
			t.Errorf("after a retry: %d calls, %q", calls, outcome.Message)
		}
	})
}

func TestJitterLengthensTheBackoffUpToMaxDelay(t *testing.T) {
	jitter := func(s *config.Step) { s.Retry.Jitter = 0.5 }
	for random, want := range map[float64][]time.Duration{
		0:   {10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute},
		0.5: {12500 * time.Millisecond, 25 * time.Second, 50 * time.Second, time.Minute, time.Minute},
		1:   {15 * time.Second, 30 * time.Second, time.Minute, time.Minute, time.Minute},
	} {
		t.Run(fmt.Sprint(random), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				executor := New(clock.RealClock{}, func() float64 { return random }, hush)
				step := b.step("a", func(context.Context, cleanup.Target) error { return errors.New("busy") }, retries(len(want)), jitter)
				var waits []time.Duration
				for range want {
					outcome, err := b.with(executor, t.Context(), 1, step)
					b.expect(outcome, err, api.Waiting)
					waits = append(waits, time.Until(outcome.RetryAt))
					<-time.After(time.Until(outcome.RetryAt))
				}
				if !slices.Equal(waits, want) {
					t.Errorf("waits %s, want %s", waits, want)
				}
			})
		})
	}
}

func TestRetryHappensWhileAnotherStepStillRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		calls := 0
		began := time.Now()
		outcome, err := b.run(t.Context(), 2,
			b.step("flaky", func(context.Context, cleanup.Target) error {
				if calls++; calls == 1 {
					return errors.New("not yet")
				}
				if since := time.Since(began); since != 10*time.Second {
					t.Errorf("tried again after %s", since)
				}
				return nil
			}, retries(1)),
			b.step("slow", func(context.Context, cleanup.Target) error { <-time.After(40 * time.Second); return nil }))
		b.expect(outcome, err, api.Succeeded)
		b.happened("flaky started", "slow started", "flaky failed", "flaky started", "flaky succeeded", "slow succeeded")
	})
}

// A changed config can add an unfinished dependency to a step that waits for its next attempt.
func TestRetriedStepWaitsForItsDependencies(t *testing.T) {
	waits := func(b *bench, due time.Duration) {
		next := metav1.NewMicroTime(time.Now().Add(due))
		b.record.Steps = []api.StepRun{{Name: "b", Plugin: "test", State: api.StepRetrying, Attempts: 1, Failures: 1, NextAttemptAt: &next}}
	}
	for name, due := range map[string]time.Duration{"due": -time.Minute, "due later": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				waits(b, due)
				var asked atomic.Int64
				slow := func(context.Context, cleanup.Target) error { <-time.After(time.Minute / 2); return nil }
				outcome, err := b.with(New(counted{clock.RealClock{}, &asked}, func() float64 { return 0 }, hush), t.Context(), 2,
					b.step("a", slow), b.step("b", succeed, after("a")))
				b.expect(outcome, err, api.Succeeded)
				b.happened("a started", "a succeeded", "b started", "b succeeded")
				if times := asked.Load(); times > 20 {
					t.Errorf("the time was asked for %d times while one step ran", times)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				waits(b, due)
				outcome, err := b.run(t.Context(), 2,
					b.step("a", func(context.Context, cleanup.Target) error { return errors.New("no disk") }), b.step("b", succeed, after("a")))
				b.expect(outcome, err, api.Failed)
				if outcome.Message != "critical step a failed, attempt 1: no disk" || !outcome.RetryAt.IsZero() {
					t.Errorf("the outcome is %+v", outcome)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				waits(b, due)
				outcome, err := b.run(t.Context(), 2,
					b.step("a", func(context.Context, cleanup.Target) error { return errors.New("no disk") }, retries(1)), b.step("b", succeed, after("a")))
				b.expect(outcome, err, api.Waiting)
				// It is the record by which the next run is begun.
				for _, step := range b.record.Steps {
					if step.NextAttemptAt != nil && !step.NextAttemptAt.Time.Equal(outcome.RetryAt) {
						t.Errorf("step %s is retried at %s, the run at %s", step.Name, step.NextAttemptAt, outcome.RetryAt)
					}
				}
			})
		})
	}
}

// counted counts the calls of Now. A busy loop fails the test.
type counted struct {
	clock.RealClock
	times *atomic.Int64
}

func (c counted) Now() time.Time {
	if c.times.Add(1) > 10_000 {
		panic("the time is asked for again and again")
	}
	return c.RealClock.Now()
}

func TestPermanentErrorsAndRetryAfterAreHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1, b.step("a", func(context.Context, cleanup.Target) error {
			return fmt.Errorf("calling: %w", cleanup.Permanent(errors.New("unknown volume")))
		}, retries(5)))
		b.expect(outcome, err, api.Failed)

		b = newBench(t)
		outcome, err = b.run(t.Context(), 1, b.step("a", func(context.Context, cleanup.Target) error {
			return fmt.Errorf("calling: %w", cleanup.RetryAfter(errors.New("busy"), 7*time.Minute))
		}, retries(5)))
		b.expect(outcome, err, api.Waiting)
		if wait := time.Until(outcome.RetryAt); wait != 7*time.Minute {
			t.Errorf("waits %s although the plugin asked for 7m", wait)
		}
	})
}
