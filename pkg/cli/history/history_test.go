package history

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
)

func TestStepInterruptedByTheEndOfItsRun(t *testing.T) {
	began := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	after := func(seconds int) *metav1.Time {
		at := metav1.NewTime(began.Add(time.Duration(seconds) * time.Second))
		return &at
	}
	running := api.StepRun{State: api.StepRunning, StartedAt: after(10)}
	for name, test := range map[string]struct {
		state    api.State
		finished *metav1.Time
		step     api.StepRun
		want     string
		seconds  int64
	}{
		"it runs":                  {api.Running, nil, running, "Running", 50},
		"bypassed":                 {api.Bypassed, after(40), running, "Interrupted", 30},
		"withdrawn":                {api.Canceled, after(40), running, "Interrupted", 30},
		"removed":                  {api.Failed, after(40), running, "Interrupted", 30},
		"between two attempts":     {api.Bypassed, after(40), api.StepRun{State: api.StepRetrying, StartedAt: after(10)}, "Interrupted", 30},
		"waits":                    {api.Waiting, nil, api.StepRun{State: api.StepRetrying, StartedAt: after(10)}, "Retrying", 0},
		"done before the end":      {api.Bypassed, after(40), api.StepRun{State: api.StepSucceeded, StartedAt: after(10), FinishedAt: after(15)}, "Succeeded", 5},
		"not begun before the end": {api.Bypassed, after(40), api.StepRun{State: api.StepPending}, "Pending", 0},
	} {
		t.Run(name, func(t *testing.T) {
			run := &api.Run{Node: "n", State: test.state, FinishedAt: test.finished, Steps: []api.StepRun{test.step}}
			step := past("run-n", run, func() inspect.Absence { return inspect.Absence{} }, began.Add(time.Minute)).Steps[0]
			if step.State != test.want || step.Seconds != test.seconds {
				t.Errorf("%s for %d s, want %s for %d s", step.State, step.Seconds, test.want, test.seconds)
			}
		})
	}
}

func TestRunThatNoAgentContinues(t *testing.T) {
	began := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	finished := metav1.NewTime(began.Add(time.Minute))
	absent := inspect.Absence{NoLeader: true, LastLed: &metav1.Time{Time: began.Add(30 * time.Second)}}
	for name, test := range map[string]struct {
		finished      *metav1.Time
		absence       inspect.Absence
		message, step string
		seconds       int64
	}{
		"an agent leads": {nil, inspect.Absence{}, "1 pod remaining", "", 290},
		"none leads":     {nil, absent, "as of 2026-11-30T03:00:30Z, when an agent last was the leader: 1 pod remaining", "it does not run now: no agent is the leader", 20},
		"finished":       {&finished, absent, "1 pod remaining", "", 50},
	} {
		t.Run(name, func(t *testing.T) {
			step := api.StepRun{State: api.StepRunning, StartedAt: &metav1.Time{Time: began.Add(10 * time.Second)}}
			run := &api.Run{Node: "n", State: api.Running, Message: "1 pod remaining", FinishedAt: test.finished, Steps: []api.StepRun{step}}
			view := past("run-n", run, func() inspect.Absence { return test.absence }, began.Add(5*time.Minute))
			if shown := view.Steps[0]; view.Message != test.message || shown.Error != test.step || shown.Seconds != test.seconds {
				t.Errorf("message %q, step %q for %d s", view.Message, shown.Error, shown.Seconds)
			}
		})
	}
}
