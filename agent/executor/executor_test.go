package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// The tests run in synctest bubbles: time stands still until all goroutines wait.

type pluginFunc func(ctx context.Context, target cleanup.Target) error

func (f pluginFunc) Cleanup(ctx context.Context, target cleanup.Target) error { return f(ctx, target) }

// bench runs plans of fake plugins, and records their calls.
type bench struct {
	t               *testing.T
	node            *corev1.Node
	record          *api.Run
	mutex           sync.Mutex
	events          []string
	saved, messages []string
	mayContinue     error
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

func (b *bench) StepChanged(step *api.StepRun, _ time.Duration) {
	word := map[api.StepState]string{
		api.StepRunning: "started", api.StepSucceeded: "succeeded", api.StepFailed: "failed", api.StepRetrying: "failed", api.StepSkipped: "skipped",
	}[step.State]
	b.note("%s %s", step.Name, word)
}

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
	built.Record(b.record, "config", false)
	return executor.Run(ctx, Job{
		Plan: built, Record: b.record, Node: b.node, Parallel: parallel, Observer: b, Log: slog.New(slog.DiscardHandler),
		Save: func(context.Context) error {
			if b.onSave != nil {
				b.onSave(b.record)
			}
			var states []string
			for _, step := range b.record.Steps {
				states = append(states, step.Name+"="+string(step.State))
			}
			b.saved = append(b.saved, strings.Join(states, " "))
			b.messages = append(b.messages, b.record.Message)
			return b.saveErr
		},
		Retriable:   func(err error) bool { return errors.Is(err, errTransient) },
		MayContinue: func() error { return b.mayContinue },
	})
}

// hush removes one word from every text.
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

func TestFailedCriticalStepStopsOnlyItsDependents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1,
			b.step("bad", func(context.Context, cleanup.Target) error { return errors.New("no disk") }),
			b.step("child", succeed, after("bad")), b.step("other", succeed))
		b.expect(outcome, err, api.Failed)
		b.happened("bad started", "bad failed", "other started", "other succeeded")
		if want := "critical step bad failed, attempt 1: no disk"; outcome.Message != want {
			t.Errorf("message is %q, want %q", outcome.Message, want)
		}
	})
}

func TestOtherStepsRunAfterAnOptionalStepFailed(t *testing.T) {
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

func TestPanicFailsOnlyItsStep(t *testing.T) {
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

func TestTimeoutEndsAStepThatIgnoresItsContext(t *testing.T) {
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
				if !strings.Contains(outcome.Message, "step a did not finish within 1m0s") {
					t.Errorf("message is %q", outcome.Message)
				}
				<-time.After(2 * time.Hour) // The bubble waits for the plugin to end.
			})
		})
	}
}

func TestTotalTimeoutLimitsAllAttemptsOfAStep(t *testing.T) {
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

func TestSucceededStepsDoNotRunAgain(t *testing.T) {
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

func TestInterruptedStepIsCancelledAndNotRecorded(t *testing.T) {
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

func TestTextsOfPluginsAreRedactedInTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 4,
			b.step("fails", func(_ context.Context, target cleanup.Target) error {
				target.Progress("waiting for canary")
				<-time.After(2 * progressInterval) // Long enough for the progress to be stored.
				return cleanup.Permanent(errors.New("canary"))
			}),
			b.step("panics", func(context.Context, cleanup.Target) error { panic("canary") }))
		b.expect(outcome, err, api.Failed)
		tells := b.step("tells", nil)
		tells.Bound = previewer{effects: []cleanup.Effect{{Action: "Send", Object: cleanup.Object{Kind: cleanup.KindURL, Name: "canary"}}}}
		if _, err := b.with(NewPreviewer(clock.RealClock{}, func() float64 { return 0 }, hush), t.Context(), 1, tells); err != nil {
			t.Fatal(err)
		}
		said := fmt.Sprintf("%v %v %+v %q", outcome, b.messages, b.record, b.saved)
		if strings.Contains(said, "canary") || !strings.Contains(said, "waiting for [secret]") || !strings.Contains(said, "send [secret]") {
			t.Errorf("recorded %s", said)
		}
	})
}
