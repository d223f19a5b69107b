package executor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// outcome returns the Outcome of a run of which no step is running.
func (r *run) outcome() Outcome {
	state, message := r.summarize()
	retryAt, _ := r.nextRetry()
	return Outcome{State: state, RetryAt: retryAt, Message: message}
}

// summarize derives the state of the run and the message for operators from its steps.
func (r *run) summarize() (api.State, string) {
	var running, retrying, failed []string
	pending, done := 0, 0
	for _, step := range r.Record.Steps {
		name := fmt.Sprintf("step %s", step.Name)
		switch step.State {
		case api.StepRunning:
			if step.Progress != "" {
				name += " (" + step.Progress + ")"
			}
			running = append(running, name)
		case api.StepRetrying:
			retrying = append(retrying, fmt.Sprintf("%s failed, attempt %d, and is retried at %s: %s",
				name, step.Attempts, step.NextAttemptAt.UTC().Format(time.RFC3339), step.LastError))
		case api.StepFailed:
			if step.Critical {
				failed = append(failed, fmt.Sprintf("critical %s failed, attempt %d: %s", name, step.Attempts, step.LastError))
				continue
			}
			done++
		case api.StepPending:
			pending++
		default:
			done++
		}
	}
	said := strings.Join(slices.Concat(failed, retrying), "; ")
	switch {
	case len(running) > 0:
		text := fmt.Sprintf("%d of %s done, running %s", done, api.Count(len(r.Record.Steps), "step"), strings.Join(running, ", "))
		if said != "" {
			text += "; " + said
		}
		return api.Running, text
	case len(retrying) > 0:
		return api.Waiting, said
	case len(failed) > 0:
		return api.Failed, said
	case pending > 0:
		return api.Running, fmt.Sprintf("%d of %s done", done, api.Count(len(r.Record.Steps), "step"))
	}
	return api.Succeeded, ""
}
