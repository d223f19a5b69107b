package main

import (
	"bytes"
	_ "embed"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode"

	"github.com/invopop/jsonschema"
)

type jsonSchema = jsonschema.Schema

// definitions are the schemas of types that decode themselves.
//
//go:embed types.json
var definitions []byte

// definitionOf maps such types to their definition.
var definitionOf = map[string]string{
	"v1.Duration": "duration", "config.duration": "duration",
	"v1.LabelSelector": "labelSelector", "config.selector": "labelSelector",
	"cleanup.Value": "value", "cleanup.SecretKey": "secretKeyRef",
	"cleanup.Template": "template", "config.fileLimit": "limit", "slog.Level": "level",
	"job.podTemplate": "podTemplate",
}

// reflector returns a reflector for types whose fields have the names in this tag, and a function
// that returns the first error, because a jsonschema.Reflector returns none.
func reflector(root, tag string) (*jsonschema.Reflector, func() error) {
	docs := &comments{root: root}
	var failed error
	return &jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, DoNotReference: true, RequiredFromJSONSchemaTags: true,
		FieldNameTag: tag,
		Mapper: func(t reflect.Type) *jsonSchema {
			if name := definitionOf[t.String()]; name != "" {
				return &jsonSchema{Ref: "#/$defs/" + name}
			}
			pointer := reflect.PointerTo(t)
			switch {
			case pointer.Implements(reflect.TypeFor[json.Unmarshaler]()):
				failed = fmt.Errorf("type %s decodes itself: add its schema to types.json and definitionOf", t)
			case pointer.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
				return &jsonSchema{Type: "string"}
			case t.String() == "config.rawOptions":
				return &jsonSchema{Type: "object"}
			}
			return nil
		},
		LookupComment: func(t reflect.Type, field string) string {
			text, err := docs.of(t, field)
			if err != nil {
				failed = err
			}
			return text
		},
	}, func() error { return failed }
}

// phrase turns a doc comment into a description: "URL is where ..." into "Where ...".
func phrase(name, comment string) string {
	text := strings.Join(strings.Fields(comment), " ")
	rest, found := strings.CutPrefix(text, name+" ")
	if !found {
		return text
	}
	for _, verb := range []string{"is ", "are "} {
		rest = strings.TrimPrefix(rest, verb)
	}
	return string(unicode.ToUpper(rune(rest[0]))) + rest[1:]
}

var reference = regexp.MustCompile(`"#/\$defs/(\w+)"`)

// addDefinitions adds the definitions to which the schema refers.
func addDefinitions(schema *jsonSchema) error {
	var known jsonschema.Definitions
	if err := json.Unmarshal(definitions, &known); err != nil {
		return fmt.Errorf("types.json: %w", err)
	}
	if schema.Definitions == nil {
		schema.Definitions = jsonschema.Definitions{}
	}
	for added := true; added; {
		added = false
		text, err := json.Marshal(schema)
		if err != nil {
			return err
		}
		for _, match := range reference.FindAllSubmatch(text, -1) {
			name := string(match[1])
			if schema.Definitions[name] != nil {
				continue
			}
			if known[name] == nil {
				return fmt.Errorf("there is no definition %s", name)
			}
			schema.Definitions[name], added = known[name], true
		}
	}
	return nil
}

// encode returns the text of a schema.
func encode(schema *jsonSchema) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		return nil, err
	}
	// The MarshalJSON of the schemas escapes HTML regardless.
	return []byte(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(buffer.String())), nil
}
