package executor

import (
	"cmp"
	"slices"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// ready returns the steps that can begin now, in the order of their priority, at most as many as
// Parallel permits.
func (r *run) ready() []config.Step {
	var ready []config.Step
	now := r.clock.Now()
	for _, step := range r.steps {
		record := r.Record.Step(step.Name)
		switch {
		case record.State.Done() || r.running[step.Name]:
		case record.State == api.StepRetrying && record.NextAttemptAt != nil && record.NextAttemptAt.After(now):
		case !r.unblocked(step.Name):
		default:
			ready = append(ready, step)
		}
	}
	slices.SortStableFunc(ready, func(a, b config.Step) int { return cmp.Compare(a.Priority, b.Priority) })
	return ready[:min(len(ready), max(0, r.Parallel-len(r.running)))]
}

// unblocked reports whether all dependencies of a step are done. A skipped step is done when its own
// dependencies are. A critical step is done when it has succeeded; an optional one also when it has
// failed.
func (r *run) unblocked(name string) bool {
	for _, dependency := range r.dependencies(name) {
		record := r.Record.Step(dependency)
		switch record.State {
		case api.StepSucceeded:
		case api.StepSkipped:
			if !r.unblocked(dependency) {
				return false
			}
		case api.StepFailed:
			if record.Critical {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func (r *run) dependencies(name string) []string {
	for _, step := range r.steps {
		if step.Name == name {
			return step.DependsOn
		}
	}
	for _, skip := range r.Plan.Skipped {
		if skip.Step.Name == name {
			return skip.Step.DependsOn
		}
	}
	return nil
}

// nextRetry returns the earliest time at which a failed attempt is repeated.
func (r *run) nextRetry() (time.Time, bool) {
	var earliest time.Time
	for _, step := range r.Record.Steps {
		if step.State == api.StepRetrying && step.NextAttemptAt != nil && !r.running[step.Name] {
			if earliest.IsZero() || step.NextAttemptAt.Time.Before(earliest) {
				earliest = step.NextAttemptAt.Time
			}
		}
	}
	return earliest, !earliest.IsZero()
}
