// Package schema reads the JSON Schema of a plugin's options, as hack/schema generates it.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Option is one option of a plugin, or a field in one.
type Option struct {
	// Name such as forceAfter, rules[].action for a field in a list, or headers.* for a value in
	// a map.
	Name string `json:"name"`
	Type string `json:"type"`
	// Default as JSON writes it, in one line; a string is without quotes. It is empty if there is none.
	Default     string `json:"default,omitempty"`
	Required    bool   `json:"required,omitempty"`
	Description string `json:"description,omitempty"`
}

// Options returns the options in a schema, in its order.
func Options(text []byte) ([]Option, error) {
	var root node
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("decoding the schema of the options: %w", err)
	}
	return root.options("", root.Definitions), nil
}

// Example returns the first example in a schema.
func Example(text []byte) (map[string]any, error) {
	var root struct {
		Examples []map[string]any `json:"examples"`
	}
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("decoding the schema of the options: %w", err)
	}
	if len(root.Examples) == 0 {
		return nil, nil
	}
	return root.Examples[0], nil
}

// node is a schema. It has the keywords that hack/schema writes.
type node struct {
	Ref                  string          `json:"$ref"`
	Definitions          map[string]node `json:"$defs"`
	Title                string          `json:"title"`
	Type                 string          `json:"type"`
	Description          string          `json:"description"`
	Default              json.RawMessage `json:"default"`
	Enum                 []string        `json:"enum"`
	Properties           properties      `json:"properties"`
	Required             []string        `json:"required"`
	Items                *node           `json:"items"`
	AdditionalProperties json.RawMessage `json:"additionalProperties"`
}

// options returns the fields of an object.
func (n node) options(prefix string, definitions map[string]node) []Option {
	var all []Option
	for _, property := range n.Properties {
		option := Option{
			Name: prefix + property.name, Type: property.typeName(definitions), Default: defaultText(property.Default),
			Required: slices.Contains(n.Required, property.name), Description: property.Description,
		}
		all = append(all, option)
		all = append(all, property.options(option.Name+".", definitions)...)
		if property.Items != nil {
			all = append(all, property.Items.options(option.Name+"[].", definitions)...)
		}
	}
	return all
}

// defaultText returns a default in one line, because a table in Markdown has one line for each row.
func defaultText(value json.RawMessage) string {
	var line bytes.Buffer
	if json.Compact(&line, value) != nil { // There is none.
		return ""
	}
	return strings.Trim(line.String(), `"`)
}

// typeName returns the type for people: "string", "duration", "list of integer", or "leave | evictLast".
func (n node) typeName(definitions map[string]node) string {
	var values node
	switch {
	case n.Ref != "":
		return definitions[strings.TrimPrefix(n.Ref, "#/$defs/")].Title
	case len(n.Enum) > 0:
		return strings.Join(n.Enum, " | ")
	case n.Items != nil:
		return "list of " + n.Items.typeName(definitions)
	case n.Type == "object" && json.Unmarshal(n.AdditionalProperties, &values) == nil && values.typeName(definitions) != "":
		return "map of " + values.typeName(definitions)
	}
	return n.Type
}

// properties keeps the order of the document.
type properties []property

type property struct {
	name string
	node
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *properties) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, err := decoder.Token(); err != nil { // {
		return err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		one := property{name: fmt.Sprint(name)}
		if err := decoder.Decode(&one.node); err != nil {
			return err
		}
		*p = append(*p, one)
	}
	return nil
}
