package executor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestProgressIsSavedWhileTheStepRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1, b.step("a", func(_ context.Context, target cleanup.Target) error {
			target.Progress("2 pods remaining")
			<-time.After(progressInterval + time.Second)
			return nil
		}))
		b.expect(outcome, err, api.Succeeded)
		want := []string{"0 of 1 step done, running step a", "0 of 1 step done, running step a (2 pods remaining)", ""}
		if !slices.Equal(b.messages, want) {
			t.Errorf("messages are %q, want %q", b.messages, want)
		}
	})
}

// Counts are stored with the progress, by the same writes, and removed when the step ends.
func TestCountsAreSavedWhileTheStepRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		saves := 0
		var saved *api.Counts
		b.onSave = func(record *api.Run) {
			saves++
			if counts := record.Steps[0].Counts; counts != nil {
				saved = counts
			}
		}
		outcome, err := b.run(t.Context(), 1, b.step("a", func(_ context.Context, target cleanup.Target) error {
			for done := range 50 {
				target.Progress("some pods remaining")
				target.Count(cleanup.Counts{Done: done, Total: 50, Blocked: "shop/cart-0"})
			}
			<-time.After(progressInterval + time.Second)
			target.Count(cleanup.Counts{Done: 49, Total: 50, Blocked: "shop/cart-0"}) // No news.
			<-time.After(progressInterval + time.Second)
			return nil
		}))
		b.expect(outcome, err, api.Succeeded)
		if want := (api.Counts{Done: 49, Total: 50, Blocked: "shop/cart-0"}); saved == nil || *saved != want || saves != 3 {
			t.Errorf("%d saves, the last counts are %+v, want %+v", saves, saved, want)
		}
		if left := b.record.Steps[0].Counts; left != nil {
			t.Errorf("a step that is done has counts: %+v", left)
		}
	})
}

// A drain reports each evicted Pod, then the remaining ones, and then nothing until those are deleted.
func TestOnlyTheNewestProgressIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		saving, said := make(chan struct{}), make(chan struct{})
		b.onSave = func(record *api.Run) {
			if record.Steps[0].Progress == "3 pods remaining" {
				close(saving)
				<-said // The run is busy in the meantime.
			}
		}
		outcome, err := b.run(t.Context(), 1, b.step("a", func(_ context.Context, target cleanup.Target) error {
			target.Progress("3 pods remaining")
			<-saving
			for _, text := range []string{"2 pods remaining", "1 pod remaining", "0 pods remaining"} {
				target.Progress(text)
			}
			close(said)
			<-time.After(2 * progressInterval)
			return nil
		}))
		b.expect(outcome, err, api.Succeeded)
		if want := "0 of 1 step done, running step a (0 pods remaining)"; len(b.messages) != 4 || b.messages[2] != want {
			t.Errorf("messages are %q, want %q", b.messages, want)
		}
	})
}

func TestStepsContinueIfProgressCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		outcome, err := b.run(t.Context(), 1, b.step("works", func(ctx context.Context, target cleanup.Target) error {
			b.saveErr = errors.New("etcd is away")
			target.Progress("2 pods are left")
			select {
			case <-time.After(2 * progressInterval):
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
