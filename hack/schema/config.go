package main

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// pluginSchema is the schema of a plugin's options, and where the config can use the plugin.
type pluginSchema struct {
	options             *jsonSchema
	step, notifications bool
}

// ofConfig returns the schema of the config file, with the options of each plugin.
func ofConfig(root string, plugins map[string]pluginSchema) (*jsonSchema, error) {
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
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		if plugins[name].step {
			addPlugin(schema.Definitions["step"], name, *plugins[name].options)
		}
		if plugins[name].notifications {
			options := *plugins[name].options
			options.Examples = nil // They are those of a step.
			addPlugin(schema.Definitions["notification"], name, options)
		}
	}
	return schema, addDefinitions(schema)
}

// addPlugin adds a plugin to the schema of a step or a notification.
func addPlugin(to *jsonSchema, name string, options jsonSchema) {
	field, _ := to.Properties.Get("plugin")
	field.Examples = append(field.Examples, name)
	to.AllOf = append(to.AllOf, ofUse(name, options))
}

// ofUse returns the condition: if a step or a notification has this plugin, then it has these options. The options of
// other plugins are not checked: only a custom agent knows them.
func ofUse(plugin string, options jsonSchema) *jsonSchema {
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
