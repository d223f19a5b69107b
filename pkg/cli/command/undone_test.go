package command

import (
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestUndone(t *testing.T) {
	for want, run := range map[string]*api.Run{
		"no step has been recorded": nil,
		"every step is done":        {Steps: []api.StepRun{{Name: "a", State: api.StepSucceeded}, {Name: "b", State: api.StepSkipped}}},
		"steps not done: a, b, c":   {Steps: []api.StepRun{{Name: "a", State: api.StepPending}, {Name: "b", State: api.StepFailed}, {Name: "c", State: api.StepRunning}}},
		"steps not done: a; in a state of a newer version: b (Verified)": {Steps: []api.StepRun{{Name: "a", State: api.StepPending}, {Name: "b", State: "Verified"}}},
		"in a state of a newer version: b (Verified)":                    {Steps: []api.StepRun{{Name: "a", State: api.StepSucceeded}, {Name: "b", State: "Verified"}}},
	} {
		if got := Undone(run); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
