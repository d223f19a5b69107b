package command

import (
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Undone says which steps of a run are left.
func Undone(run *api.Run) string {
	if run == nil {
		return "no step has been recorded"
	}
	var left []string
	for _, step := range run.Steps {
		if !step.State.Done() || step.State == api.StepFailed {
			left = append(left, step.Name)
		}
	}
	if len(left) == 0 {
		return "every step is done"
	}
	return "left undone: " + strings.Join(left, ", ")
}
