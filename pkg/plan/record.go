package plan

import "github.com/nodecleanup/kubectl-nodecleanup/pkg/api"

// Applied returns the names of the steps that already applied to a terminating Node with the same
// config. A client with the right to write the Node's labels, such as its kubelet, cannot remove a
// step from an ongoing deletion.
func Applied(run *api.Run, configHash string) []string {
	if run.DeletionRequestedAt == nil || run.ConfigHash != configHash {
		return nil
	}
	var names []string
	for _, step := range run.Steps {
		if step.State != api.StepSkipped {
			names = append(names, step.Name)
		}
	}
	return names
}

// Record sets the steps of a run record to the steps of the plan, in the plan's order. A step that
// the record has under the same name and plugin keeps its state. Other steps start from Pending,
// and so does a step that succeeded without an attempt, because no agent writes that state. Steps
// that are not in the plan are dropped. The state of a dry run does not count in a real run.
func (p Plan) Record(run *api.Run, configHash string, dryRun bool) {
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
	run.Steps, run.ConfigHash, run.PlanHash = steps, configHash, p.StepsHash
}
