package cleanup

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// OptionNames returns the names of the options, sorted. The agent publishes them for CLIs that do not
// have the plugin. If they are nil, such a CLI accepts any option.
func (d Descriptor) OptionNames() []string {
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if json.Unmarshal(d.Schema, &schema) != nil {
		return d.Options
	}
	return append([]string{}, slices.Sorted(maps.Keys(schema.Properties))...)
}

// OptionNames returns the names of the options in type O, sorted. It is never nil.
func OptionNames[O any]() []string {
	names := append([]string{}, fieldNames(reflect.TypeFor[O]())...)
	slices.Sort(names)
	return names
}

// fieldNames returns the names that encoding/json gives the fields of a struct.
func fieldNames(of reflect.Type) []string {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && field.Anonymous:
			names = append(names, fieldNames(field.Type)...)
		case !field.IsExported():
		case name == "":
			names = append(names, field.Name)
		default:
			names = append(names, name)
		}
	}
	return names
}
