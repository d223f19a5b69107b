package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// ofPlugin returns the schema of a plugin's options. Its example is that of the README.
func ofPlugin(root string, descriptor cleanup.Descriptor, readme []byte) (*jsonSchema, error) {
	if descriptor.DefaultOptions == nil {
		return nil, errors.New("its descriptor has no DefaultOptions")
	}
	reflector, failed := reflector(root, "json")
	schema := reflector.Reflect(descriptor.DefaultOptions)
	if err := failed(); err != nil {
		return nil, err
	}
	schema.Title = "Options of plugin " + descriptor.Name
	if err := addDefaults(schema, descriptor.DefaultOptions); err != nil {
		return nil, err
	}
	example, err := exampleIn(string(readme), descriptor.Name)
	if err != nil {
		return nil, err
	}
	schema.Examples = []any{example}
	return schema, addDefinitions(schema)
}

// addDefaults adds the default of each option, unless it has none.
func addDefaults(schema *jsonSchema, defaults any) error {
	text, err := json.Marshal(defaults)
	if err != nil {
		return err
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	for name, value := range values {
		property, found := schema.Properties.Get(name)
		if found && property.Default == nil && property.Extras["default"] == nil && !slices.Contains([]string{"null", `""`, "0", `"0s"`, "{}", "[]"}, string(value)) {
			property.Default = value
		}
	}
	return nil
}

// exampleIn returns the options of the first step of the plugin in a document.
func exampleIn(document, plugin string) (map[string]any, error) {
	for _, block := range strings.Split(document, "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		var steps []struct {
			Plugin  string         `json:"plugin"`
			Options map[string]any `json:"options"`
		}
		if err := yaml.Unmarshal([]byte(block), &steps); err != nil {
			continue // Not a list of steps.
		}
		for _, step := range steps {
			if step.Plugin == plugin {
				if step.Options == nil {
					step.Options = map[string]any{}
				}
				return step.Options, nil
			}
		}
	}
	return nil, fmt.Errorf("its README has no step of plugin %s", plugin)
}
