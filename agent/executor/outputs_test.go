package executor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// A step that opens a ticket must not open a second one after a restart of the agent.
func TestOutputIsSavedWhileTheStepRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		saved := make(chan string, 10)
		b.onSave = func(record *api.Run) { saved <- record.Steps[0].Outputs["number"] }
		outcome, err := b.run(t.Context(), 1, b.step("a", func(_ context.Context, target cleanup.Target) error {
			<-saved // The save before the step.
			began := time.Now()
			if err := target.Output("number", "INC1"); err != nil {
				return err
			}
			if number := <-saved; number != "INC1" || time.Since(began) > 0 {
				t.Errorf("after %s, %q is saved", time.Since(began), number)
			}
			return nil
		}))
		b.expect(outcome, err, api.Succeeded)
	})
}

func TestOutputsReachRetriesAndLaterSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		a := b.step("a", func(_ context.Context, target cleanup.Target) error {
			if target.Attempt == 1 {
				if err := target.Output("number", "INC1"); err != nil {
					t.Error(err)
				}
				return errors.New("the answer was lost")
			}
			if got := target.Outputs["a"]["number"]; got != "INC1" {
				t.Errorf("the retry has the output %q", got)
			}
			return target.Output("state", "open")
		}, retries(1))
		c := b.step("c", func(_ context.Context, target cleanup.Target) error {
			if got := fmt.Sprint(target.Outputs["a"]); got != "map[number:INC1 state:open]" {
				t.Errorf("the later step has the outputs %s", got)
			}
			return nil
		}, after("a"))
		outcome, err := b.run(t.Context(), 1, a, c)
		b.expect(outcome, err, api.Waiting)
		<-time.After(time.Until(outcome.RetryAt))
		outcome, err = b.run(t.Context(), 1, a, c)
		b.expect(outcome, err, api.Succeeded)
	})
}

// The run may see the end of a step before it sees the last output.
func TestTheLastOutputIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		saving, recorded := make(chan struct{}), make(chan struct{})
		b.onSave = func(record *api.Run) {
			for _, step := range record.Steps {
				if step.State == api.StepRunning && step.Outputs["first"] != "" && step.Outputs["last"] == "" {
					close(saving)
					<-recorded
					synctest.Wait() // The step has ended.
				}
			}
		}
		for i := range 20 { // The order of the two is random.
			saving, recorded = make(chan struct{}), make(chan struct{})
			b.record = &api.Run{Node: "n", NodeUID: "u"}
			outcome, err := b.run(t.Context(), 1, b.step("a", func(_ context.Context, target cleanup.Target) error {
				defer close(recorded)
				if err := target.Output("first", "1"); err != nil {
					return err
				}
				<-saving
				return target.Output("last", "2")
			}))
			b.expect(outcome, err, api.Succeeded)
			if last := b.record.Steps[0].Outputs["last"]; last != "2" {
				t.Fatalf("run %d: the last output is %q", i, last)
			}
		}
	})
}

func TestOutputsAreBounded(t *testing.T) {
	b := newBench(t)
	outcome, err := b.run(t.Context(), 1, b.step("a", func(_ context.Context, target cleanup.Target) error {
		if err := target.Output("token", "a canary"); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("recording a secret: %v", err)
		}
		for i := range cleanup.MaxOutputs {
			if err := target.Output(fmt.Sprintf("o%d", i), "v"); err != nil {
				t.Error(err)
			}
		}
		if err := target.Output("more", "v"); err == nil {
			t.Error("an output too many is accepted")
		}
		return target.Output("o0", "w")
	}))
	b.expect(outcome, err, api.Succeeded)
	if outputs := b.record.Steps[0].Outputs; len(outputs) != cleanup.MaxOutputs || outputs["o0"] != "w" || outputs["token"] != "" {
		t.Errorf("the record has the outputs %v", outputs)
	}
}
