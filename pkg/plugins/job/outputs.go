package job

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// outputsIn returns the outputs in the termination messages of a Pod's containers, and the number of other
// lines. A later line replaces an earlier one of the same name.
func outputsIn(pod *corev1.Pod) (outputs map[string]string, others int) {
	outputs = map[string]string{}
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Terminated == nil {
			continue
		}
		for line := range strings.Lines(status.State.Terminated.Message) {
			line = strings.TrimSpace(line)
			if line == "" {
				continue
			}
			name, value, found := strings.Cut(line, "=")
			if !found {
				others++
				continue
			}
			outputs[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return outputs, others
}

// recordOutputs records the declared outputs of a Job that has succeeded. The work is done, so an output
// that is missing fails only the steps that use it, and the log says so.
func (p *plugin) recordOutputs(pod *corev1.Pod, target cleanup.Target) {
	if len(p.Outputs) == 0 {
		return
	}
	if pod == nil {
		target.Log.Warn("the Job has no outputs: its Pod does not exist any more", "namespace", p.Namespace)
		return
	}
	found, others := outputsIn(pod)
	for _, name := range p.Outputs {
		value, is := found[name]
		err := fmt.Errorf("the termination message has no line %s=", name)
		if is {
			err = target.Output(name, value)
		}
		if err != nil {
			target.Log.Warn("the Job lacks an output", "pod", pod.Namespace+"/"+pod.Name, "output", name, "err", err)
		}
	}
	for name := range found {
		if !slices.Contains(p.Outputs, name) {
			others++
		}
	}
	if others > 0 {
		target.Log.Info("the termination message has lines that are not declared outputs", "pod", pod.Namespace+"/"+pod.Name, "lines", others)
	}
}
