package config

import (
	"fmt"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// beforeDrains warns about steps that must run before a drain, and do not: see cleanup.Descriptor.BeforeDrain.
func (p *parser) beforeDrains(steps []Step) {
	byName := map[string]Step{}
	for _, step := range steps {
		byName[step.Name] = step
	}
	for i, step := range steps {
		reason := p.catalog[step.Plugin].BeforeDrain
		if reason == "" {
			continue
		}
		for _, drain := range steps {
			path := fmt.Sprintf("steps[%d].dependsOn", i)
			switch {
			case drain.Plugin != api.DrainPlugin || dependsOn(drain, step.Name, byName, map[string]bool{}):
			case dependsOn(step, drain.Name, byName, map[string]bool{}):
				p.warn(path, "step %q (plugin %s) runs after step %q: %s. Remove that dependency, and add %[1]q to dependsOn of %[3]q", step.Name, step.Plugin, drain.Name, reason)
			default:
				p.warn(path, "step %q (plugin %s) does not run before step %q: %s. Add %[1]q to dependsOn of %[3]q", step.Name, step.Plugin, drain.Name, reason)
			}
		}
	}
}

// warn records a valid part of the config that is probably not intended.
func (p *parser) warn(path, format string, arguments ...any) {
	p.warnings = append(p.warnings, Error{Line: lineOf(p.root, path), Path: path, Problem: fmt.Sprintf(format, arguments...)})
}
