package runstore

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

// Begin returns the record of a run that has not started yet.
func Begin(node *corev1.Node, now time.Time) *api.Run {
	run := &api.Run{
		Node:                node.Name,
		NodeUID:             node.UID,
		State:               api.Pending,
		Host:                api.HostOf(node),
		DeletionRequestedAt: node.DeletionTimestamp.DeepCopy(),
		StartedAt:           metav1.NewTime(now),
	}
	NoteDeletion(run, node)
	return run
}

// NoteDeletion records whether break-glass overrode the delete guard for a terminating Node.
func NoteDeletion(run *api.Run, node *corev1.Node) {
	if node.DeletionTimestamp == nil {
		return
	}
	// One that cannot be read or had expired let nothing through.
	if glass, err := api.BreakGlassOf(node, node.DeletionTimestamp.Time); err == nil && glass.Active {
		run.BreakGlassReason = glass.Reason
	}
}

// Merge sets the record's steps to those of the plan, in the plan's order. A step
// that the record has under the same name and plugin keeps its state; the others
// start from Pending, and so does one that succeeded without an attempt: no agent writes
// that. Steps that are not in the plan are dropped. The state of a
// dry run does not count in a real run.
func Merge(run *api.Run, configHash string, dryRun bool, p plan.Plan) {
	if run.DryRun != dryRun {
		run.Steps = nil
	}
	run.DryRun = dryRun
	steps := make([]api.StepRun, 0, len(run.Steps))
	keep := func(name, plugin string, critical, skipped bool) {
		step := api.StepRun{Name: name, Plugin: plugin, State: api.StepPending}
		if known := run.Step(name); known != nil && known.Plugin == plugin {
			step = *known
			if step.State == api.StepSkipped && !skipped || step.State == api.StepSucceeded && step.Attempts == 0 {
				step.State, step.Reason = api.StepPending, ""
			}
		}
		step.Critical = critical
		steps = append(steps, step)
	}
	for _, step := range p.Steps() {
		keep(step.Name, step.Plugin, step.Critical, false)
	}
	for _, skip := range p.Skipped {
		keep(skip.Step.Name, skip.Step.Plugin, skip.Step.Critical, true)
	}
	run.Steps, run.ConfigHash, run.PlanHash = steps, configHash, p.Hash
}

// Retry resets the steps that failed or wait for their next attempt, as if they had
// not failed yet.
func Retry(run *api.Run) {
	for i := range run.Steps {
		step := &run.Steps[i]
		if step.State == api.StepFailed || step.State == api.StepRetrying {
			step.State, step.Failures, step.NextAttemptAt, step.StartedAt, step.FinishedAt = api.StepPending, 0, nil, nil, nil
		}
	}
	run.State, run.Message, run.FinishedAt = api.Pending, "", nil
}
