package webhookplugin

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

type schema struct {
	Ref                  string             `json:"$ref"`
	Type                 string             `json:"type"`
	Format               string             `json:"format"`
	Required             []string           `json:"required"`
	Properties           map[string]*schema `json:"properties"`
	Items                *schema            `json:"items"`
	AdditionalProperties *schema            `json:"additionalProperties"`
	Enum                 []string           `json:"enum"`
}

// The published document describes the Go types: same fields, types and required fields, and no schema
// that nothing uses.
func TestOpenAPIDocumentDescribesTheTypes(t *testing.T) {
	data, err := os.ReadFile("../../docs/webhook-plugin.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		OpenAPI    string                               `json:"openapi"`
		Info       struct{ Version string }             `json:"info"`
		Paths      map[string]map[string]map[string]any `json:"paths"`
		Components struct {
			Schemas map[string]*schema `json:"schemas"`
		} `json:"components"`
	}
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	if document.Info.Version != Version || !strings.HasPrefix(document.OpenAPI, "3.") {
		t.Errorf("OpenAPI %s, version %s", document.OpenAPI, document.Info.Version)
	}
	for path, method := range map[string]string{DiscoveryPath: "get", HealthPath: "get", CleanupPath: "post", PreviewPath: "post", VerifyPath: "post", NotifyPath: "post"} {
		if len(document.Paths[path]) != 1 || document.Paths[path][method] == nil {
			t.Errorf("%s %s is not described", method, path)
		}
	}
	if len(document.Paths) != 6 {
		t.Errorf("there are %d paths", len(document.Paths))
	}
	described := map[string]bool{}
	var compare func(where string, of reflect.Type, schema *schema)
	object := func(of reflect.Type) {
		if described[of.Name()] {
			return
		}
		described[of.Name()] = true
		of, named := of, document.Components.Schemas[of.Name()]
		if named == nil {
			t.Errorf("there is no schema %s", of.Name())
			return
		}
		var fields, required []string
		for i := range of.NumField() {
			field := of.Field(i)
			name, rest, _ := strings.Cut(field.Tag.Get("json"), ",")
			fields = append(fields, name)
			if rest == "" {
				required = append(required, name)
			}
			if property := named.Properties[name]; property != nil {
				compare(of.Name()+"."+name, field.Type, property)
			} else {
				t.Errorf("%s.%s is not described", of.Name(), name)
			}
		}
		for name := range named.Properties {
			if !slices.Contains(fields, name) {
				t.Errorf("%s has no field %s", of.Name(), name)
			}
		}
		slices.Sort(required)
		slices.Sort(named.Required)
		if !slices.Equal(required, named.Required) {
			t.Errorf("%s requires %q, the document %q", of.Name(), required, named.Required)
		}
	}
	compare = func(where string, of reflect.Type, schema *schema) {
		for of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		want := map[reflect.Kind]string{reflect.String: "string", reflect.Int: "integer", reflect.Bool: "boolean", reflect.Slice: "array", reflect.Map: "object"}[of.Kind()]
		switch {
		case of == reflect.TypeFor[time.Time]():
			if schema.Type != "string" || schema.Format != "date-time" {
				t.Errorf("%s is %s %s", where, schema.Type, schema.Format)
			}
		case of == reflect.TypeFor[json.RawMessage]():
			if schema.Type != "object" {
				t.Errorf("%s is %s", where, schema.Type)
			}
		case of.Kind() == reflect.Struct:
			if schema.Ref != "#/components/schemas/"+of.Name() {
				t.Errorf("%s refers to %q", where, schema.Ref)
			}
			object(of)
		case want == "" || schema.Type != want:
			t.Errorf("%s is %s, the document says %q", where, of, schema.Type)
		case of.Kind() == reflect.Slice:
			compare(where+"[]", of.Elem(), schema.Items)
		case of.Kind() == reflect.Map:
			compare(where+"{}", of.Elem(), schema.AdditionalProperties)
		}
	}
	for _, of := range []reflect.Type{
		reflect.TypeFor[Discovery](), reflect.TypeFor[Request](), reflect.TypeFor[Answer](),
		reflect.TypeFor[PreviewAnswer](), reflect.TypeFor[VerifyAnswer](), reflect.TypeFor[Notification](), reflect.TypeFor[NotifyAnswer](), reflect.TypeFor[Problem](),
	} {
		object(of)
	}
	for name := range document.Components.Schemas {
		if !described[name] {
			t.Errorf("schema %s is of no type", name)
		}
	}
	states := []string{string(StateDone), string(StateInProgress), string(StateFailed)}
	if got := document.Components.Schemas["Answer"].Properties["state"].Enum; !slices.Equal(got, states) {
		t.Errorf("the states are %q", got)
	}
}
