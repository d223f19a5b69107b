package diagnose

import (
	"fmt"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/repair"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// repairOf returns the repair of a step for its error, nil if none is known.
func (f *found) repairOf(name, problem string) *repair.Repair {
	at := slices.IndexFunc(f.planned, func(step config.Step) bool { return step.Name == name })
	if at < 0 {
		return nil
	}
	return repair.OfStep(f.planned[at]).For(f.namespace, problem)
}

// address returns how to repair a step that continues by itself then, nil if that is not known.
func (f *found) address(name, problem string) []string {
	if fix := f.repairOf(name, problem); fix != nil {
		return []string{fix.Line()}
	}
	return nil
}

// testOf returns the command that tests the plugin of a step, nil if the plugin has no health check. A health check does
// not use the credential that a destination has refused.
func (f *found) testOf(step api.StepRun) []string {
	if repair.CredentialRefused(step.LastError) || f.agent != nil && f.agent.Status != nil && slices.ContainsFunc(f.agent.Status.Plugins, func(said api.PluginHealth) bool {
		return said.Step == step.Name && said.Plugin == step.Plugin && !said.Checks
	}) {
		return nil
	}
	return []string{"kubectl nodecleanup plugins test " + step.Name}
}

// fixFailed returns how to repair a failed step, and to retry it if the agent does not do so by itself.
func (f *found) fixFailed(step api.StepRun) []string {
	fix := f.repairOf(step.Name, step.LastError)
	if fix == nil || f.lacksSecret(step.Name) {
		return []string{fmt.Sprintf("fix the cause. Unless that changes %s, run: %s", f.retryingChanges(step.Name), retry(f))}
	}
	changed := fix.Change + "; the agent then retries by itself: " + fix.Command
	if fix.Outside == "" {
		return []string{changed}
	}
	return []string{fix.Outside + ", then run: " + retry(f), changed}
}

// retryingChanges names the changes after which the agent retries a failed step by itself: to the config, or to a
// Secret that the step uses.
func (f *found) retryingChanges(name string) string {
	at := slices.IndexFunc(f.planned, func(step config.Step) bool { return step.Name == name })
	if at < 0 {
		return "the config or a Secret of the step"
	}
	text := "the config"
	var known []string
	for _, key := range f.planned[at].Secrets {
		if !slices.Contains(known, key.Name) {
			known, text = append(known, key.Name), text+" or secret "+key.Name
		}
	}
	return text
}

func orWait(options []string) []string {
	if options == nil {
		return []string{"wait"}
	}
	return options
}
