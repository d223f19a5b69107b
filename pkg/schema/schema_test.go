package schema

import (
	"reflect"
	"testing"
)

const text = `{
  "$defs": {"duration": {"title": "duration", "type": "string"}},
  "properties": {
    "url": {"type": "string", "description": "Where."},
    "after": {"$ref": "#/$defs/duration", "default": "5m"},
    "rules": {"type": "array", "items": {"type": "object", "properties": {"action": {"type": "string", "enum": ["a", "b"], "default": "a"}}}},
    "retry": {"type": "object", "properties": {"times": {"type": "integer", "default": 3}}, "additionalProperties": false},
    "headers": {"type": "object", "additionalProperties": {"type": "string"}},
    "statuses": {"type": "array", "items": {"type": "integer"}, "default": [
      200
    ]}
  },
  "required": ["url"],
  "examples": [{"url": "http://a"}]
}`

func TestOptions(t *testing.T) {
	got, err := Options([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Option{
		{Name: "url", Type: "string", Required: true, Description: "Where."},
		{Name: "after", Type: "duration", Default: "5m"},
		{Name: "rules", Type: "list of object"},
		{Name: "rules[].action", Type: "a | b", Default: "a"},
		{Name: "retry", Type: "object"},
		{Name: "retry.times", Type: "integer", Default: "3"},
		{Name: "headers", Type: "map of string"},
		{Name: "statuses", Type: "list of integer", Default: "[200]"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := Options([]byte("{")); err == nil {
		t.Error("half a schema is accepted")
	}
}

func TestExample(t *testing.T) {
	for from, want := range map[string]map[string]any{text: {"url": "http://a"}, "{}": nil} {
		if got, err := Example([]byte(from)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
}
