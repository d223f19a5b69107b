package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// The tests run in synctest bubbles: time stands still until everybody waits.

type pluginFunc func(ctx context.Context, target cleanup.Target) error

func (f pluginFunc) Cleanup(ctx context.Context, target cleanup.Target) error { return f(ctx, target) }

// bench runs plans of steps whose plugins it makes, and keeps what happens.
type bench struct {
	t               *testing.T
	node            *corev1.Node
	record          *api.Run
	mutex           sync.Mutex
	events          []string
	saved, messages []string
	guard           error
	saveErr         error
	// onSave is called with each record before it is saved, where it is not nil.
	onSave func(*api.Run)
}

func newBench(t *testing.T) *bench {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"}}
	return &bench{t: t, node: node, record: &api.Run{Node: "n", NodeUID: "u"}}
}

func (b *bench) note(format string, arguments ...any) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.events = append(b.events, fmt.Sprintf(format, arguments...))
}

func (b *bench) StepStarted(step *api.StepRun)                    { b.note("%s started", step.Name) }
func (b *bench) StepSucceeded(step *api.StepRun, _ time.Duration) { b.note("%s succeeded", step.Name) }
func (b *bench) StepFailed(step *api.StepRun, _ time.Duration)    { b.note("%s failed", step.Name) }
func (b *bench) StepSkipped(step *api.StepRun)                    { b.note("%s skipped", step.Name) }

// step makes a critical step without retries that calls work.
func (b *bench) step(name string, work pluginFunc, change ...func(*config.Step)) config.Step {
	step := config.Step{
		Name: name, Plugin: "test", Critical: true, Timeout: time.Minute, NodeSelector: labels.Everything(),
		Retry: config.Retry{InitialDelay: 10 * time.Second, MaxDelay: time.Minute, BackoffFactor: 2},
		Bound: work,
	}
	for _, c := range change {
		c(&step)
	}
	return step
}

func after(names ...string) func(*config.Step)      { return func(s *config.Step) { s.DependsOn = names } }
func retries(n int) func(*config.Step)              { return func(s *config.Step) { s.Retry.MaxRetries = n } }
func optional(s *config.Step)                       { s.Critical = false }
func priority(n int) func(*config.Step)             { return func(s *config.Step) { s.Priority = n } }
func succeed(context.Context, cleanup.Target) error { return nil }

func (b *bench) run(ctx context.Context, parallel int, steps ...config.Step) (Outcome, error) {
	return b.with(New(clock.RealClock{}, func() float64 { return 0 }, hush), ctx, parallel, steps...)
}

func (b *bench) with(executor *Executor, ctx context.Context, parallel int, steps ...config.Step) (Outcome, error) {
	built := plan.Build(steps, b.node)
	runrecord.Merge(b.record, "config", false, built)
	return executor.Run(ctx, Job{
		Plan: built, Record: b.record, Node: b.node, Parallel: parallel, Observer: b, Log: slog.New(slog.DiscardHandler),
		Save: func(_ context.Context, record *api.Run) error {
			if b.onSave != nil {
				b.onSave(record)
			}
			var states []string
			for _, step := range record.Steps {
				states = append(states, step.Name+"="+string(step.State))
			}
			b.saved = append(b.saved, strings.Join(states, " "))
			b.messages = append(b.messages, record.Message)
			return b.saveErr
		},
		Passing: func(err error) bool { return errors.Is(err, errPasses) },
		Guard:   func(context.Context) error { return b.guard },
	})
}

// hush takes one word out of every text.
func hush(text string) string { return strings.ReplaceAll(text, "canary", "[secret]") }

func (b *bench) expect(outcome Outcome, err error, state api.State) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("interrupted: %v", err)
	}
	if outcome.State != state {
		b.t.Fatalf("outcome is %s (%s), want %s", outcome.State, outcome.Message, state)
	}
}

func (b *bench) happened(want ...string) {
	b.t.Helper()
	if !slices.Equal(b.events, want) {
		b.t.Errorf("happened:\n  %s\nwant:\n  %s", strings.Join(b.events, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestStepsFollowTheirDependenciesAndPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1,
			b.step("last", succeed, after("b")), b.step("b", succeed), b.step("a", succeed, priority(1)))
		b.expect(outcome, err, api.Succeeded)
		b.happened("b started", "b succeeded", "last started", "last succeeded", "a started", "a succeeded")
	})
}

func TestIndependentStepsRunAtOnceUpToTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var now, most int
		slow := func(context.Context, cleanup.Target) error {
			b.mutex.Lock()
			now++
			most = max(most, now)
			b.mutex.Unlock()
			<-time.After(time.Second)
			b.mutex.Lock()
			now--
			b.mutex.Unlock()
			return nil
		}
		began := time.Now()
		outcome, err := b.run(t.Context(), 2, b.step("a", slow), b.step("b", slow), b.step("c", slow), b.step("d", slow))
		b.expect(outcome, err, api.Succeeded)
		if took := time.Since(began); most != 2 || took != 2*time.Second {
			t.Errorf("%d at once, in %s; want 2 in 2s", most, took)
		}
	})
}

func TestTheRecordIsSavedBeforeTheStepRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1, b.step("a", func(context.Context, cleanup.Target) error {
			if last := b.saved[len(b.saved)-1]; last != "a=Running" {
				t.Errorf("the record said %q when the step ran", last)
			}
			return nil
		}))
		b.expect(outcome, err, api.Succeeded)
		if want := []string{"a=Running", "a=Succeeded"}; !slices.Equal(b.saved, want) {
			t.Errorf("saved %q, want %q", b.saved, want)
		}
	})
}

func TestAFailedCriticalStepStopsWhatDependsOnItAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1,
			b.step("bad", func(context.Context, cleanup.Target) error { return errors.New("no disk") }),
			b.step("child", succeed, after("bad")), b.step("other", succeed))
		b.expect(outcome, err, api.Failed)
		b.happened("bad started", "bad failed", "other started", "other succeeded")
		if want := "critical step bad failed once: no disk"; outcome.Message != want {
			t.Errorf("message is %q, want %q", outcome.Message, want)
		}
	})
}

func TestAFailedOptionalStepIsRecordedAndTheRestGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1,
			b.step("bad", func(context.Context, cleanup.Target) error { return errors.New("no disk") }, optional),
			b.step("child", succeed, after("bad"), optional))
		b.expect(outcome, err, api.Succeeded)
		b.happened("bad started", "bad failed", "child started", "child succeeded")
		if step := b.record.Step("bad"); step.State != api.StepFailed || step.LastError != "no disk" {
			t.Errorf("recorded %+v", step)
		}
	})
}

func TestRetriesWaitLongerEachTimeAndGiveTheWorkerBack(t *testing.T) {
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
		if calls != 3 || outcome.Message != "critical step a failed 3 times: try 3" {
			t.Errorf("%d calls, %q", calls, outcome.Message)
		}
	})
}

func TestJitterMakesAWaitLongerAndNoneIsLongerThanTheLongest(t *testing.T) {
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

func TestARetryHappensWhileAnotherStepStillRuns(t *testing.T) {
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

// Config may put a step that is not done before one that waits for its next try.
func TestAStepThatIsTriedAgainWaitsForWhatItDependsOn(t *testing.T) {
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
				if outcome.Message != "critical step a failed once: no disk" || !outcome.RetryAt.IsZero() {
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
						t.Errorf("step %s is due at %s, the run at %s", step.Name, step.NextAttemptAt, outcome.RetryAt)
					}
				}
			})
		})
	}
}

// counted counts how often the time is asked for; who asks without end fails.
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

func TestPermanentErrorsAreNotRetriedAndRetryAfterIsHonoured(t *testing.T) {
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

func TestAPanicFailsItsStepAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1,
			b.step("a", func(context.Context, cleanup.Target) error { panic("index out of range") }, retries(5), optional),
			b.step("b", succeed))
		b.expect(outcome, err, api.Succeeded)
		if step := b.record.Step("a"); step.State != api.StepFailed || step.LastError != "plugin test panicked: index out of range" {
			t.Errorf("recorded %+v", step)
		}
	})
}

func TestAStepIsCutOffAtItsTimeoutEvenWhenItDoesNotListen(t *testing.T) {
	for name, hang := range map[string]pluginFunc{
		"listens": func(ctx context.Context, _ cleanup.Target) error {
			<-ctx.Done()
			return fmt.Errorf("pod x left: %w", ctx.Err())
		},
		"does not listen": func(context.Context, cleanup.Target) error { <-time.After(time.Hour); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				began := time.Now()
				outcome, err := b.run(t.Context(), 1, b.step("a", hang))
				b.expect(outcome, err, api.Failed)
				if took := time.Since(began); took < time.Minute || took > time.Minute+cutOffAfter {
					t.Errorf("cut off after %s, the timeout is 1m", took)
				}
				if !strings.Contains(outcome.Message, "step a was not done within 1m0s") {
					t.Errorf("message is %q", outcome.Message)
				}
				<-time.After(2 * time.Hour) // The bubble waits for the plugin to end.
			})
		})
	}
}

func TestAStepAsAWholeHasALimitOfItsOwn(t *testing.T) {
	total := func(limit time.Duration) func(*config.Step) {
		return func(s *config.Step) { s.TotalTimeout = limit }
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		calls := 0
		step := b.step("a", func(context.Context, cleanup.Target) error { calls++; return errors.New("busy") }, retries(100), total(15*time.Second))
		outcome, err := b.run(t.Context(), 1, step)
		for err == nil && outcome.State == api.Waiting {
			<-time.After(time.Until(outcome.RetryAt))
			outcome, err = b.run(t.Context(), 1, step)
		}
		b.expect(outcome, err, api.Failed)
		if step := b.record.Step("a"); calls < 2 || !strings.Contains(step.LastError, "totalTimeout of 15s") || step.FinishedAt.Sub(step.StartedAt.Time) > 15*time.Second {
			t.Errorf("%d calls, recorded %+v", calls, step)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		began := time.Now()
		hang := func(ctx context.Context, _ cleanup.Target) error { <-ctx.Done(); return ctx.Err() }
		outcome, err := b.run(t.Context(), 1, b.step("a", hang, total(15*time.Second)))
		b.expect(outcome, err, api.Failed)
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("an attempt was cut off after %s", took)
		}
	})
}

func TestWhatWasDoneBeforeIsNotDoneAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		before := metav1.NewTime(time.Now().Add(-time.Hour))
		b.record.Steps = []api.StepRun{
			{Name: "done", Plugin: "test", State: api.StepSucceeded, Attempts: 1},
			{Name: "cut", Plugin: "test", State: api.StepRunning, Attempts: 1, StartedAt: &before},
		}
		outcome, err := b.run(t.Context(), 1,
			b.step("done", func(context.Context, cleanup.Target) error { t.Error("done twice"); return nil }),
			b.step("cut", func(_ context.Context, target cleanup.Target) error {
				if target.Attempt != 2 || target.IdempotencyKey != "u/cut" || !target.Began.Equal(before.Time) {
					t.Errorf("attempt %d, key %s, began %s", target.Attempt, target.IdempotencyKey, target.Began)
				}
				return nil
			}, after("done")))
		b.expect(outcome, err, api.Succeeded)
	})
}

// What config took out of the plan may have been all that was left of it.
func TestWhereNothingIsLeftToRunThatIsSavedBeforeItIsReturned(t *testing.T) {
	forbidden := func(context.Context, cleanup.Target) error { t.Error("the step ran"); return nil }
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.record.State, b.record.Steps = api.Failed, []api.StepRun{{Name: "a", Plugin: "test", State: api.StepSucceeded}, {Name: "gone", Plugin: "test", State: api.StepFailed}}
		outcome, err := b.run(t.Context(), 1, b.step("a", forbidden))
		b.expect(outcome, err, api.Succeeded)
		if want := []string{"a=Succeeded"}; !slices.Equal(b.saved, want) || b.record.State != api.Succeeded || b.record.FinishedAt == nil {
			t.Errorf("saved %q, %+v", b.saved, b.record)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b, next := newBench(t), metav1.NewMicroTime(time.Now().Add(time.Hour))
		b.record.State, b.record.Steps = api.Running, []api.StepRun{
			{Name: "gone", Plugin: "test", State: api.StepRunning}, {Name: "waits", Plugin: "test", State: api.StepRetrying, NextAttemptAt: &next}}
		outcome, err := b.run(t.Context(), 1, b.step("waits", forbidden))
		b.expect(outcome, err, api.Waiting)
		if want := []string{"waits=Retrying"}; !slices.Equal(b.saved, want) || b.record.State != api.Waiting {
			t.Errorf("saved %q, %+v", b.saved, b.record)
		}
	})
}

func TestNothingBeginsAfterTheGuardSaidNoOrTheRecordCouldNotBeSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forbidden := func(context.Context, cleanup.Target) error { t.Error("the step ran"); return nil }
		b := newBench(t)
		b.guard = errors.New("not the leader")
		if _, err := b.run(t.Context(), 1, b.step("a", forbidden)); !errors.Is(err, b.guard) {
			t.Errorf("error is %v", err)
		}
		b = newBench(t)
		b.saveErr = errors.New("conflict")
		if _, err := b.run(t.Context(), 1, b.step("a", forbidden)); !errors.Is(err, b.saveErr) {
			t.Errorf("error is %v", err)
		}
	})
}

var errPasses = errors.New("connection refused")

// An API server that is restarted is back after some seconds.
func TestAStepIsNotRepeatedBecauseItsEndCouldNotBeSavedAtOnce(t *testing.T) {
	run := func(t *testing.T, change func(b *bench, since time.Duration)) (b *bench, calls int, took time.Duration, err error) {
		b = newBench(t)
		var began time.Time
		b.onSave = func(record *api.Run) {
			if record.Steps[0].State == api.StepSucceeded {
				change(b, time.Since(began))
			}
		}
		_, err = b.run(t.Context(), 1, b.step("a", func(context.Context, cleanup.Target) error {
			calls++
			began = time.Now()
			b.saveErr = errPasses
			return nil
		}), b.step("b", succeed, after("a")))
		return b, calls, time.Since(began), err
	}
	synctest.Test(t, func(t *testing.T) {
		b, calls, _, err := run(t, func(b *bench, since time.Duration) {
			if since > 5*time.Second {
				b.saveErr = nil
			}
		})
		if err != nil || calls != 1 || b.record.State != api.Succeeded || len(b.saved) > 10 {
			t.Errorf("after 5s: %v, %d calls, saved %q", err, calls, b.saved)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b, _, took, err := run(t, func(*bench, time.Duration) {})
		if !errors.Is(err, errPasses) || took > saveFor || took < saveFor-lastSavePause {
			t.Errorf("for ever: %v after %s", err, took)
		}
		b.happened("a started", "a succeeded")
	})
	synctest.Test(t, func(t *testing.T) {
		no := errors.New("not the leader")
		_, _, took, err := run(t, func(b *bench, since time.Duration) {
			if since > time.Second {
				b.guard = no
			}
		})
		if !errors.Is(err, no) || took > 3*time.Second {
			t.Errorf("no longer the leader: %v after %s", err, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		conflict := errors.New("conflict")
		_, _, took, err := run(t, func(b *bench, _ time.Duration) { b.saveErr = conflict })
		if !errors.Is(err, conflict) || took != 0 {
			t.Errorf("a conflict: %v after %s", err, took)
		}
	})
}

func TestAnInterruptedStepIsCancelledAndItsResultNotRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cause := errors.New("leadership lost")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := false
		_, err := b.run(ctx, 1, b.step("a", func(ctx context.Context, _ cleanup.Target) error {
			cancel(cause)
			<-ctx.Done()
			<-time.After(time.Second)
			ended = true
			return nil
		}))
		if !errors.Is(err, cause) {
			t.Errorf("error is %v", err)
		}
		if !ended {
			t.Error("Run returned while the plugin was at work")
		}
		if want := []string{"a=Running"}; !slices.Equal(b.saved, want) {
			t.Errorf("saved %q, want %q", b.saved, want)
		}
	})
}

func TestProgressIsSavedWhileTheStepRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1, b.step("a", func(_ context.Context, target cleanup.Target) error {
			target.Progress("2 pods left")
			<-time.After(progressPause + time.Second)
			return nil
		}))
		b.expect(outcome, err, api.Succeeded)
		want := []string{"0 of 1 steps done, running step a", "0 of 1 steps done, running step a (2 pods left)", ""}
		if !slices.Equal(b.messages, want) {
			t.Errorf("messages are %q, want %q", b.messages, want)
		}
	})
}

// A drain that names each pod as it goes ends with what is left, and says no more until that is gone.
func TestTheNewestProgressIsTheOneThatIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		saving, said := make(chan struct{}), make(chan struct{})
		b.onSave = func(record *api.Run) {
			if record.Steps[0].Progress == "3 pods left" {
				close(saving)
				<-said // The run is busy meanwhile.
			}
		}
		outcome, err := b.run(t.Context(), 1, b.step("a", func(_ context.Context, target cleanup.Target) error {
			target.Progress("3 pods left")
			<-saving
			for _, text := range []string{"2 pods left", "1 pod left", "0 pods left"} {
				target.Progress(text)
			}
			close(said)
			<-time.After(2 * progressPause)
			return nil
		}))
		b.expect(outcome, err, api.Succeeded)
		if want := "0 of 1 steps done, running step a (0 pods left)"; len(b.messages) != 4 || b.messages[2] != want {
			t.Errorf("messages are %q, want %q", b.messages, want)
		}
	})
}

type previewer struct {
	pluginFunc
	said []string
	err  error
}

func (p previewer) Preview(context.Context, cleanup.Target) ([]string, error) { return p.said, p.err }

func TestADryRunPreviewsAndNeverCleansUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		forbidden := pluginFunc(func(context.Context, cleanup.Target) error { t.Error("cleaned up"); return nil })
		tells := b.step("tells", nil)
		tells.Bound = previewer{forbidden, []string{"evict 3 pods"}, nil}
		broken := b.step("broken", nil)
		broken.Bound = previewer{forbidden, nil, errors.New("no answer")}
		outcome, err := b.with(NewPreviewer(clock.RealClock{}, func() float64 { return 0 }, hush), t.Context(), 1, tells, broken, b.step("silent", forbidden))
		b.expect(outcome, err, api.Succeeded)
		for name, want := range map[string]string{"tells": "evict 3 pods", "broken": "cannot tell what it would do: no answer", "silent": "the plugin cannot tell what it would do"} {
			if said := b.record.Step(name).Preview; !slices.Equal(said, []string{want}) {
				t.Errorf("step %s said %q, want %q", name, said, want)
			}
		}
	})
}

type previewFunc func(context.Context) ([]string, error)

func (previewFunc) Cleanup(context.Context, cleanup.Target) error { panic("cleaned up") }

func (f previewFunc) Preview(ctx context.Context, _ cleanup.Target) ([]string, error) { return f(ctx) }

func TestADryRunIsNotHeldByAPreviewThatPanicsOrHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		step := func(name string, do previewFunc) config.Step {
			step := b.step(name, nil, retries(5))
			step.Bound = do
			return step
		}
		outcome, err := b.with(NewPreviewer(clock.RealClock{}, func() float64 { return 0 }, hush), t.Context(), 4,
			step("panics", func(context.Context) ([]string, error) { panic("nil map") }),
			step("listens", func(ctx context.Context) ([]string, error) { <-ctx.Done(); return []string{"evict 3 pods"}, ctx.Err() }),
			step("hangs", func(context.Context) ([]string, error) { <-time.After(time.Hour); return nil, nil }))
		b.expect(outcome, err, api.Succeeded)
		for name, want := range map[string]string{
			"panics":  "cannot tell what it would do: plugin test panicked: nil map",
			"listens": "evict 3 pods; cannot tell what it would do: step listens was not done within 1m0s",
			"hangs":   "cannot tell what it would do: step hangs was not done within 1m0s, and plugin test did not stop",
		} {
			if step := b.record.Step(name); !strings.Contains(strings.Join(step.Preview, "; "), want) || step.Attempts != 1 || step.Failures != 0 {
				t.Errorf("step %s: %+v, want it to say %q", name, step, want)
			}
		}
		<-time.After(2 * time.Hour) // The bubble waits for the plugin to end.
	})
}

func TestNothingThatAPluginSaysIsRecordedWithASecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 4,
			b.step("fails", func(_ context.Context, target cleanup.Target) error {
				target.Progress("waiting for canary")
				<-time.After(2 * progressPause) // Long enough for the progress to be stored.
				return cleanup.Permanent(errors.New("canary"))
			}),
			b.step("panics", func(context.Context, cleanup.Target) error { panic("canary") }))
		b.expect(outcome, err, api.Failed)
		tells := b.step("tells", nil)
		tells.Bound = previewer{said: []string{"send canary"}}
		if _, err := b.with(NewPreviewer(clock.RealClock{}, func() float64 { return 0 }, hush), t.Context(), 1, tells); err != nil {
			t.Fatal(err)
		}
		said := fmt.Sprintf("%v %v %+v %q", outcome, b.messages, b.record, b.saved)
		if strings.Contains(said, "canary") || !strings.Contains(said, "waiting for [secret]") || !strings.Contains(said, "send [secret]") {
			t.Errorf("recorded %s", said)
		}
	})
}

func TestWhatAPreviewSaysIsCutAfterSecretsAreTakenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		tells, many := b.step("tells", nil), slices.Repeat([]string{"evict"}, 1000)
		tells.Bound = previewer{said: many, err: errors.New(strings.Repeat("x", maxErrorText-len("cannot tell what it would do: can")) + "canary")}
		broken := b.step("broken", nil)
		broken.Bound = previewer{err: tells.Bound.(previewer).err}
		if _, err := b.with(NewPreviewer(clock.RealClock{}, func() float64 { return 0 }, hush), t.Context(), 1, tells, broken); err != nil {
			t.Fatal(err)
		}
		if said := b.record.Step("tells").Preview; len(said) != maxPreview+1 || said[maxPreview] != "and 951 more" {
			t.Errorf("%d lines are kept, the last is %q", len(said), said[len(said)-1])
		}
		if said := b.record.Step("broken").Preview[0]; strings.Contains(said, "can…") || len(said) > maxErrorText+len("…") {
			t.Errorf("kept %q", said)
		}
	})
}

func TestATextIsCutBetweenItsLetters(t *testing.T) {
	for _, before := range []int{0, 1} {
		text := strings.Repeat("x", before) + strings.Repeat("ü", maxErrorText)
		if cut := shorten(text); !utf8.ValidString(cut) || len(cut) < maxErrorText || !strings.HasPrefix(text, strings.TrimSuffix(cut, "…")) {
			t.Errorf("cut to %d bytes: %q", len(cut), cut[len(cut)-8:])
		}
	}
}

func TestProgressThatCannotBeStoredStopsNoStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1, b.step("works", func(ctx context.Context, target cleanup.Target) error {
			b.saveErr = errors.New("etcd is away")
			target.Progress("2 pods are left")
			select {
			case <-time.After(2 * progressPause):
				synctest.Wait()
				b.saveErr = nil
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}))
		b.expect(outcome, err, api.Succeeded)
	})
}
