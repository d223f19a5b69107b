package config

import (
	"fmt"
	"slices"
	"strings"
)

// graph checks the relations of the steps. Names must be unique, and dependencies must exist and
// form no cycle. A critical step must not depend on a step that is not critical: it could then
// begin although the other one never succeeded.
func (p *parser) graph(steps []Step) {
	index := map[string]int{}
	for i, step := range steps {
		if first, again := index[step.Name]; again {
			p.fault(fmt.Sprintf("steps[%d].name", i), "%q is also the name of steps[%d]", step.Name, first)
			continue
		}
		index[step.Name] = i
	}
	for i, step := range steps {
		for j, name := range step.DependsOn {
			path := fmt.Sprintf("steps[%d].dependsOn[%d]", i, j)
			other, exists := index[name]
			switch {
			case !exists:
				p.fault(path, "there is no step %q", name)
			case slices.Index(step.DependsOn, name) < j:
				p.fault(path, "%q is named twice", name)
			case step.Critical && !steps[other].Critical && !p.criticalUnknown[name]:
				p.fault(path, "critical step %q depends on %q, which is not critical", step.Name, name)
			}
		}
	}
	if cycle := findCycle(steps, index); cycle != nil {
		p.fault(fmt.Sprintf("steps[%d].dependsOn", index[cycle[0]]), "the steps wait for each other: %s", strings.Join(append(cycle, cycle[0]), " → "))
	}
}

// findCycle returns the names of steps that form a cycle: each depends on the next one, and the
// last on the first. It returns nil if there is no cycle.
func findCycle(steps []Step, index map[string]int) []string {
	const visiting, done = 1, 2
	state := make([]int, len(steps))
	var trail []string
	var visit func(i int) []string
	visit = func(i int) []string {
		state[i] = visiting
		trail = append(trail, steps[i].Name)
		for _, name := range steps[i].DependsOn {
			next, exists := index[name]
			if !exists {
				continue
			}
			if state[next] == visiting {
				return slices.Clone(trail[slices.Index(trail, name):])
			}
			if state[next] == 0 {
				if cycle := visit(next); cycle != nil {
					return cycle
				}
			}
		}
		trail = trail[:len(trail)-1]
		state[i] = done
		return nil
	}
	for i := range steps {
		if state[i] == 0 {
			if cycle := visit(i); cycle != nil {
				return cycle
			}
		}
	}
	return nil
}
