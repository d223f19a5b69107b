package command

import (
	"fmt"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// UndoneOf is Undone, or says that it is not known because the record could not be read.
func UndoneOf(run *api.Run, err error) string {
	if err != nil {
		return fmt.Sprintf("it is not known which of its steps are done: %v", err)
	}
	return Undone(run)
}

// Undone says which steps of a run are not done.
func Undone(run *api.Run) string {
	if run == nil {
		return "no step has been recorded"
	}
	var left, unknown, parts []string
	for _, step := range run.Steps {
		switch {
		case !step.State.Known():
			unknown = append(unknown, fmt.Sprintf("%s (%s)", step.Name, step.State))
		case !step.State.Done() || step.State == api.StepFailed:
			left = append(left, step.Name)
		}
	}
	if len(left) > 0 {
		parts = append(parts, "steps not done: "+strings.Join(left, ", "))
	}
	if len(unknown) > 0 {
		parts = append(parts, "in a state of a newer version: "+strings.Join(unknown, ", "))
	}
	if len(parts) == 0 {
		return "every step is done"
	}
	return strings.Join(parts, "; ")
}
