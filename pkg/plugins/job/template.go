package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	sigsjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// podTemplate is a Pod template that was decoded strictly.
type podTemplate struct {
	corev1.PodTemplateSpec
	given bool
	// values are the values of the environment variables with references, by their path, such as
	// "spec.containers[0].env[1].value".
	values map[string]cleanup.Template
	faults []cleanup.OptionError
}

// UnmarshalJSON takes a Pod template. Validate reports its faults with their paths.
func (t *podTemplate) UnmarshalJSON(data []byte) error {
	*t = podTemplate{given: true}
	strict, err := sigsjson.UnmarshalStrict(data, &t.PodTemplateSpec)
	if err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) && wrongType.Field != "" {
			t.faults = append(t.faults, cleanup.OptionError{Path: wrongType.Field, Problem: fmt.Sprintf("must be of type %s, not %s", wrongType.Type, wrongType.Value)})
			return nil
		}
		return fmt.Errorf("is not a Pod template: %w", err)
	}
	for _, problem := range strict {
		t.faults = append(t.faults, strictFault(problem))
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return err
	}
	t.parse(tree)
	return nil
}

// MarshalJSON returns null: the only template that is encoded is that of the default options.
func (t podTemplate) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// strictFault places an error of the strict decoder: `unknown field "spec.containers[0].imagee"`.
func strictFault(err error) cleanup.OptionError {
	kind, path, found := strings.Cut(err.Error(), ` field "`)
	if !found {
		return cleanup.OptionError{Problem: err.Error()}
	}
	return cleanup.OptionError{Path: strings.TrimSuffix(path, `"`), Problem: kind + " field of a Pod template"}
}

// parse parses the references in the values of environment variables. A reference elsewhere is a fault:
// the value of a label could otherwise become part of a command.
func (t *podTemplate) parse(tree any) {
	t.values = map[string]cleanup.Template{}
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"initContainers", t.Spec.InitContainers}, {"containers", t.Spec.Containers}} {
		for i, container := range list.containers {
			for j, variable := range container.Env {
				path := fmt.Sprintf("spec.%s[%d].env[%d].value", list.name, i, j)
				template, err := cleanup.NewTemplate(variable.Value)
				if err != nil {
					t.faults = append(t.faults, cleanup.OptionError{Path: path, Problem: err.Error()})
				}
				t.values[path] = template
			}
		}
	}
	eachString("", tree, func(path, text string) {
		if _, expanded := t.values[path]; expanded {
			return
		}
		template, err := cleanup.NewTemplate(text)
		if err == nil && len(template.References()) > 0 {
			t.faults = append(t.faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf("has the reference ${%s}, which is only replaced in the value of an environment variable: define a variable, and use $(VARIABLE) here", template.References()[0].Name)})
		}
	})
}

// eachString calls do for each string in a document, with its path.
func eachString(path string, tree any, do func(path, text string)) {
	switch value := tree.(type) {
	case string:
		do(path, value)
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			eachString(strings.TrimPrefix(path+"."+key, "."), value[key], do)
		}
	case []any:
		for i, element := range value {
			eachString(fmt.Sprintf("%s[%d]", path, i), element, do)
		}
	}
}

// problems returns the faults of a template for Pods of a ServiceAccount. Their paths begin with the
// path of the template.
func (t *podTemplate) problems(path, serviceAccount string) []cleanup.OptionError {
	var faults []cleanup.OptionError
	fault := func(at, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: strings.TrimSuffix(path+"."+at, "."), Problem: fmt.Sprintf(format, arguments...)})
	}
	for _, known := range t.faults {
		fault(known.Path, "%s", known.Problem)
	}
	if len(t.faults) > 0 {
		return faults
	}
	if len(t.Spec.Containers) == 0 {
		fault("spec.containers", "must have a container")
	}
	for _, name := range []struct{ field, value string }{
		{"spec.serviceAccountName", t.Spec.ServiceAccountName}, {"spec.serviceAccount", t.Spec.DeprecatedServiceAccount},
	} {
		if name.value != "" && name.value != serviceAccount {
			fault(name.field, "is %q, but the option serviceAccountName is %q: remove it here", name.value, serviceAccount)
		}
	}
	if t.Spec.NodeName != "" {
		fault("spec.nodeName", "must not be set: use the option onNode, or nodeSelector or affinity")
	}
	if t.Spec.RestartPolicy != "" && t.Spec.RestartPolicy != corev1.RestartPolicyNever {
		fault("spec.restartPolicy", "must be Never, not %s: the agent retries the step", t.Spec.RestartPolicy)
	}
	if t.Name != "" || t.GenerateName != "" || t.Namespace != "" {
		fault("metadata", "must have only labels and annotations: the plugin sets the name and the namespace")
	}
	reserved := reservedVariables()
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"initContainers", t.Spec.InitContainers}, {"containers", t.Spec.Containers}} {
		for i, container := range list.containers {
			for j, variable := range container.Env {
				if slices.Contains(reserved, variable.Name) {
					fault(fmt.Sprintf("spec.%s[%d].env[%d].name", list.name, i, j), "%s is set by the plugin", variable.Name)
				}
			}
		}
	}
	return faults
}

// parseTemplate decodes the Pod template in a ConfigMap.
func parseTemplate(text, serviceAccount string) (*podTemplate, error) {
	data, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil, err
	}
	template := &podTemplate{}
	if err := template.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	var faults []error
	for _, fault := range template.problems("", serviceAccount) {
		fault.Path = strings.TrimPrefix(fault.Path, ".")
		faults = append(faults, fault)
	}
	return template, errors.Join(faults...)
}
