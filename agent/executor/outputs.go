package executor

import (
	"fmt"
	"maps"
	"sync"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// outputsOf copies the outputs of all steps of a record, by step and name.
func outputsOf(record *api.Run) map[string]map[string]string {
	outputs := map[string]map[string]string{}
	for _, step := range record.Steps {
		if len(step.Outputs) > 0 {
			outputs[step.Name] = maps.Clone(step.Outputs)
		}
	}
	return outputs
}

// recorderOf returns the function that takes the outputs of one attempt of a step, from any goroutine.
func (r *run) recorderOf(step *api.StepRun) func(name, value string) error {
	var mutex sync.Mutex
	outputs := map[string]string{}
	maps.Copy(outputs, step.Outputs)
	name := step.Name
	return func(output, value string) error {
		if r.redact(value) != value {
			return fmt.Errorf("recording output %s: the value contains a secret", output)
		}
		mutex.Lock()
		defer mutex.Unlock()
		if _, known := outputs[output]; !known && len(outputs) >= cleanup.MaxOutputs {
			return fmt.Errorf("recording output %s: the step has %d outputs, which is the maximum", output, len(outputs))
		}
		outputs[output] = value
		r.progress.setOutputs(name, maps.Clone(outputs))
		return nil
	}
}
