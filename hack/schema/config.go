package main

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// ofConfig returns the schema of the config file, with the options of each plugin.
func ofConfig(root string, plugins map[string]*jsonSchema) (*jsonSchema, error) {
	reflector, failed := reflector(root, "yaml")
	reflector.DoNotReference = false
	reflector.Namer = func(t reflect.Type) string {
		name := strings.TrimPrefix(t.Name(), "file")
		if name == "" {
			return t.Name() // Of the document itself, and of types without a name.
		}
		if rest, found := strings.CutPrefix(name, "API"); found {
			return "api" + rest
		}
		return strings.ToLower(name[:1]) + name[1:]
	}
	schema := reflector.ReflectFromType(config.Document())
	if err := failed(); err != nil {
		return nil, err
	}
	schema.Title = "Config of nodecleanup"
	one := uint64(1)
	schema.Definitions["brake"].MinProperties = &one
	step := schema.Definitions["step"]
	plugin, _ := step.Properties.Get("plugin")
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		plugin.Examples = append(plugin.Examples, name)
		step.AllOf = append(step.AllOf, ofStep(name, *plugins[name]))
	}
	return schema, addDefinitions(schema)
}

// ofStep returns the condition: if a step has this plugin, then it has these options. The options of
// other plugins are not checked: only a custom agent knows them.
func ofStep(plugin string, options jsonSchema) *jsonSchema {
	options.Version, options.Definitions = "", nil
	is, has := jsonschema.NewProperties(), jsonschema.NewProperties()
	is.Set("plugin", &jsonSchema{Const: plugin})
	has.Set("options", &options)
	then := &jsonSchema{Properties: has}
	if len(options.Required) > 0 {
		then.Required = []string{"options"}
	}
	return &jsonSchema{If: &jsonSchema{Properties: is, Required: []string{"plugin"}}, Then: then}
}
