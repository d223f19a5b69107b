package executor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestRecordIsSavedBeforeTheStepRuns(t *testing.T) {
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

// A changed config can remove the last unfinished step from the plan.
func TestRunWithoutRemainingStepsIsSaved(t *testing.T) {
	forbidden := func(context.Context, cleanup.Target) error { t.Error("the step ran"); return nil }
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.record.State, b.record.Steps = api.Failed, []api.StepRun{{Name: "a", Plugin: "test", State: api.StepSucceeded, Attempts: 1}, {Name: "gone", Plugin: "test", State: api.StepFailed}}
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

func TestNoStepBeginsAfterMayContinueOrSaveFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forbidden := func(context.Context, cleanup.Target) error { t.Error("the step ran"); return nil }
		b := newBench(t)
		b.mayContinue = errors.New("not the leader")
		if _, err := b.run(t.Context(), 1, b.step("a", forbidden)); !errors.Is(err, b.mayContinue) {
			t.Errorf("error is %v", err)
		}
		b = newBench(t)
		b.saveErr = errors.New("conflict")
		if _, err := b.run(t.Context(), 1, b.step("a", forbidden)); !errors.Is(err, b.saveErr) {
			t.Errorf("error is %v", err)
		}
	})
}

var errTransient = errors.New("connection refused")

// A restarted API server is back after some seconds.
func TestSavingAResultIsRetried(t *testing.T) {
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
			b.saveErr = errTransient
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
		if !errors.Is(err, errTransient) || took > saveFor || took < saveFor-lastSaveBackoff {
			t.Errorf("for ever: %v after %s", err, took)
		}
		b.happened("a started", "a succeeded")
	})
	synctest.Test(t, func(t *testing.T) {
		no := errors.New("not the leader")
		_, _, took, err := run(t, func(b *bench, since time.Duration) {
			if since > time.Second {
				b.mayContinue = no
			}
		})
		if !errors.Is(err, no) || took > 3*time.Second {
			t.Errorf("no longer the leader: %v after %s", err, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b, began := newBench(t), time.Now()
		b.saveErr = errTransient
		if _, err := b.run(t.Context(), 1, b.step("a", succeed)); !errors.Is(err, errTransient) || time.Since(began) != 0 {
			t.Errorf("before anything was done: %v after %s", err, time.Since(began))
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
