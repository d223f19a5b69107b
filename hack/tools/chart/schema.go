package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

// values is the schema of the chart's values without the config.
//
//go:embed values.schema.json
var values []byte

// valuesSchema returns the schema of the chart's values. That of the config is docs/config.schema.json
// without apiVersion and kind, which the chart writes.
func valuesSchema(manifests string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(manifests, "..", "docs", "config.schema.json"))
	if err != nil {
		return nil, err
	}
	// Older versions of Helm know only older drafts of JSON Schema.
	text = bytes.ReplaceAll(text, []byte(`#/$defs/`), []byte(`#/definitions/`))
	var schema struct {
		Schema      string         `json:"$schema"`
		Comment     string         `json:"$comment"`
		Title       string         `json:"title"`
		Type        string         `json:"type"`
		Additional  bool           `json:"additionalProperties"`
		Required    []string       `json:"required"`
		Properties  map[string]any `json:"properties"`
		Definitions map[string]any `json:"definitions"`
	}
	var config struct {
		Properties  map[string]any `json:"properties"`
		Definitions map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal(values, &schema); err != nil {
		return nil, fmt.Errorf("values.schema.json: %w", err)
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("docs/config.schema.json: %w", err)
	}
	schema.Comment = "Generated from hack/tools/chart/values.schema.json and docs/config.schema.json by make render. DO NOT EDIT."
	delete(config.Properties, "apiVersion")
	delete(config.Properties, "kind")
	schema.Properties["config"] = bound(map[string]any{
		"description": "The agent's config without apiVersion and kind: docs/config.md.",
		"type":        "object", "additionalProperties": false, "required": []string{"steps"}, "properties": config.Properties,
	})
	for name, definition := range config.Definitions {
		if schema.Definitions[name] != nil {
			return nil, fmt.Errorf("both schemas define %s", name)
		}
		schema.Definitions[name] = bound(definition)
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// bound limits what a schema accepts to what the templates write as it is: text without control
// characters, and numbers that Helm, for which all are floating-point, does not write as 1e+20.
func bound(schema any) any {
	switch schema := schema.(type) {
	case map[string]any:
		for _, below := range schema {
			bound(below)
		}
		switch {
		case schema["type"] == "string" && schema["pattern"] == nil && schema["enum"] == nil:
			delete(schema, "type")
			schema["$ref"] = "#/definitions/text"
		case schema["type"] == "integer":
			if schema["minimum"] == nil {
				schema["minimum"] = math.MinInt32
			}
			if schema["maximum"] == nil {
				schema["maximum"] = math.MaxInt32
			}
		case schema["type"] == "object" && schema["additionalProperties"] == nil:
			schema["allOf"] = []any{map[string]any{"$ref": "#/definitions/data"}}
		}
	case []any:
		for _, below := range schema {
			bound(below)
		}
	}
	return schema
}
