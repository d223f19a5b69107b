package executor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// verifier returns one prepared result per call of Verify, then success.
type verifier struct {
	pluginFunc
	answers *[]any
}

func (v verifier) Verify(ctx context.Context, _ cleanup.Target) (string, error) {
	if len(*v.answers) == 0 {
		return "", nil
	}
	answer := (*v.answers)[0]
	*v.answers = (*v.answers)[1:]
	switch answer := answer.(type) {
	case error:
		return "", answer
	case string:
		return answer, nil
	}
	<-ctx.Done() // It hangs.
	return "", ctx.Err()
}

func verified(answers ...any) func(*config.Step) {
	return func(step *config.Step) {
		step.Bound = verifier{step.Bound.(pluginFunc), &answers}
	}
}

func TestStepIsVerifiedBeforeTheRunSucceeds(t *testing.T) {
	for name, test := range map[string]struct {
		answers []any
		state   api.State
		says    string
		events  []string
	}{
		"still done":     {nil, api.Succeeded, "", []string{"drain started", "drain succeeded"}},
		"no longer done": {[]any{"2 pods are on the node"}, api.Waiting, "no longer done: 2 pods are on the node", []string{"drain started", "drain succeeded", "drain failed"}},
		"unknown":        {[]any{errors.New("no answer of canary")}, api.Waiting, "verifying that the step is still done: no answer of [secret]", []string{"drain started", "drain succeeded", "drain failed"}},
		"hangs":          {[]any{nil}, api.Waiting, "did not finish within 1m0s", []string{"drain started", "drain succeeded", "drain failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				outcome, err := b.run(t.Context(), 1, b.step("drain", succeed, retries(1), verified(test.answers...)))
				b.expect(outcome, err, test.state)
				if !strings.Contains(outcome.Message, test.says) {
					t.Errorf("the outcome says %q", outcome.Message)
				}
				b.happened(test.events...)
				if last := b.saved[len(b.saved)-1]; test.state == api.Waiting && (last != "drain=Retrying" || slices.Contains(b.saved, "drain=Succeeded")) {
					t.Errorf("saved are %v", b.saved) // A record that says Succeeded is published.
				}
			})
		})
	}
}

// A run can be done before Run is called: after a restart, or if the cleanup preceded the deletion.
func TestDoneRunIsVerifiedAndItsStepsRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		calls := 0
		count := pluginFunc(func(context.Context, cleanup.Target) error { calls++; return nil })
		b.record.State = api.Succeeded
		b.record.Steps = []api.StepRun{{Name: "drain", Plugin: "test", State: api.StepSucceeded, Attempts: 1}, {Name: "log", Plugin: "test", State: api.StepSucceeded, Attempts: 1}}
		started := b.record.StartedAt
		b.record.Steps[0].StartedAt, b.record.Steps[1].StartedAt = &started, &started
		drain, log := b.step("drain", count, retries(3), verified("a pod is on the node")), b.step("log", func(context.Context, cleanup.Target) error { t.Error("log ran again"); return nil }, after("drain"))
		outcome, err := b.run(t.Context(), 1, drain, log)
		b.expect(outcome, err, api.Waiting)
		<-time.After(time.Until(outcome.RetryAt))
		outcome, err = b.run(t.Context(), 1, drain, log)
		b.expect(outcome, err, api.Succeeded)
		if step := b.record.Step("drain"); calls != 1 || step.Reason != "ran again: no longer done: a pod is on the node" || step.LastError != "" || step.Attempts != 2 || step.Failures != 1 || step.FinishedAt == nil {
			t.Errorf("%d calls, the step is %+v", calls, step)
		}
	})
}

// Step volumes waits for Pods that were scheduled after the drain. If the drain were verified only at
// the end, neither step would end.
func TestAfterAFailureTheDoneStepsAreVerified(t *testing.T) {
	for name, test := range map[string]struct {
		answer any
		drains int
	}{
		"no longer done": {"a pod is on the node", 2},
		"unknown":        {errors.New("no answer"), 1}, // It is asked again at the end.
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				drains, attempts := 0, 0
				drain := b.step("drain", func(context.Context, cleanup.Target) error { drains++; return nil }, retries(3), verified(test.answer))
				volumes := b.step("volumes", func(context.Context, cleanup.Target) error {
					if attempts++; attempts == 1 {
						return errors.New("a volume is attached")
					}
					if drains != test.drains {
						t.Errorf("volumes runs again after %d drains", drains)
					}
					return nil
				}, after("drain"), retries(3))
				for {
					outcome, err := b.run(t.Context(), 1, drain, volumes)
					if err != nil || outcome.State != api.Waiting {
						b.expect(outcome, err, api.Succeeded)
						break
					}
					<-time.After(time.Until(outcome.RetryAt))
				}
				if drains != test.drains || attempts != 2 {
					t.Errorf("%d drains, %d attempts of volumes", drains, attempts)
				}
			})
		})
	}
}

// A drain deletes Pods, regardless of their budgets, when forceAfter has passed since it began. The
// duration of other steps counts neither for forceAfter nor for totalTimeout.
func TestRepeatedStepHasItsFullTotalTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var began []time.Duration
		drain := b.step("drain", func(_ context.Context, target cleanup.Target) error {
			began = append(began, time.Since(target.Began))
			return nil
		}, retries(3), verified("a pod is on the node"), func(step *config.Step) { step.TotalTimeout = time.Hour })
		slow := b.step("slow", func(ctx context.Context, _ cleanup.Target) error {
			<-time.After(3 * time.Hour)
			return nil
		}, after("drain"), func(step *config.Step) { step.Timeout = 4 * time.Hour })
		outcome, err := b.run(t.Context(), 1, drain, slow)
		b.expect(outcome, err, api.Waiting)
		<-time.After(time.Until(outcome.RetryAt))
		outcome, err = b.run(t.Context(), 1, drain, slow)
		b.expect(outcome, err, api.Succeeded)
		if len(began) != 2 || began[1] > time.Minute {
			t.Errorf("the attempts are at %v after the beginning", began)
		}
	})
}

func TestDoneStepWithoutAStartTimeIsVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.record.State = api.Succeeded
		b.record.Steps = []api.StepRun{{Name: "drain", Plugin: "test", State: api.StepSucceeded, Attempts: 1}}
		outcome, err := b.run(t.Context(), 1, b.step("drain", succeed, verified()))
		b.expect(outcome, err, api.Succeeded)
	})
}

// Two controllers that undo each other's work stop in the end.
func TestRepeatedlyUndoneStepFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		drain := b.step("drain", succeed, retries(2), verified("cordon removed", "cordon removed", "cordon removed", "cordon removed"))
		for {
			outcome, err := b.run(t.Context(), 1, drain)
			if err != nil || outcome.State != api.Waiting {
				b.expect(outcome, err, api.Failed)
				break
			}
			<-time.After(time.Until(outcome.RetryAt))
		}
		if step := b.record.Step("drain"); step.Attempts != 3 || step.Failures != 3 {
			t.Errorf("the step is %+v", step)
		}
	})
}

func TestDryRunVerifiesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.with(NewPreviewer(clock.RealClock{}, func() float64 { return 0 }, hush), t.Context(), 1, b.step("drain", succeed, verified("pods are on the node")))
		b.expect(outcome, err, api.Succeeded)
	})
}
