package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// references checks the references of a step's options to outputs of other steps: the step exists,
// runs earlier, and can have the output.
func (p *parser) references(steps []Step, written []fileStep) {
	byName := map[string]Step{}
	for _, step := range steps {
		byName[step.Name] = step
	}
	for i, step := range steps {
		eachString(fmt.Sprintf("steps[%d].options", i), written[i].Options.values, func(path, text string) {
			template, err := cleanup.NewTemplate(text)
			if err != nil {
				return // It is not a template, or the plugin reports the fault.
			}
			for _, reference := range template.References() {
				switch {
				case reference.Step != "":
					p.outputReference(path, reference, step, byName)
				case reference.OfNotification():
					p.fault(path, "${%s}: a step cannot refer to a notification", reference.Name)
				}
			}
		})
	}
}

func (p *parser) outputReference(path string, reference cleanup.Reference, from Step, byName map[string]Step) {
	to, exists := byName[reference.Step]
	switch {
	case !exists:
		p.fault(path, "${%s}: there is no step %q%s", reference.Name, reference.Step, suggestion(reference.Step, slices.Sorted(maps.Keys(byName))))
		return
	case !dependsOn(from, reference.Step, byName, map[string]bool{}):
		p.fault(path, "${%s}: step %q must depend on step %q: add it to dependsOn", reference.Name, from.Name, reference.Step)
		return
	case to.Bound == nil:
		return // Its plugin or its options have a fault of their own.
	}
	namer, can := to.Bound.(cleanup.OutputNamer)
	if !can {
		p.fault(path, "${%s}: plugin %s of step %q has no outputs", reference.Name, to.Plugin, reference.Step)
		return
	}
	if names := namer.OutputNames(); names != nil && !slices.Contains(names, reference.Output) {
		p.fault(path, "${%s}: step %q has no output %q%s", reference.Name, reference.Step, reference.Output, suggestion(reference.Output, names))
	}
}

// dependsOn reports whether a step runs after another one because of dependsOn.
func dependsOn(step Step, name string, byName map[string]Step, visited map[string]bool) bool {
	for _, dependency := range step.DependsOn {
		if dependency == name {
			return true
		}
		if !visited[dependency] {
			visited[dependency] = true
			if dependsOn(byName[dependency], name, byName, visited) {
				return true
			}
		}
	}
	return false
}

// eachString calls do for each string in the options, with its path.
func eachString(path string, options any, do func(path, text string)) {
	switch value := options.(type) {
	case string:
		do(path, value)
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			eachString(path+"."+key, value[key], do)
		}
	case []any:
		for i, element := range value {
			eachString(fmt.Sprintf("%s[%d]", path, i), element, do)
		}
	}
}
