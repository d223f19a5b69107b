// Package printer turns view models into what is printed: tables for people,
// JSON and YAML for programs. It knows no cluster.
package printer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"sigs.k8s.io/yaml"
)

// APIVersion of every view in JSON and YAML.
const APIVersion = "nodecleanup.io/v1alpha1"

// Format is a form of output, as -o names it.
type Format string

// The forms of output.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// View is something to show. It is a struct with apiVersion and kind whose
// JSON is the output for programs.
type View interface {
	// Text writes the form for people.
	Text(*Text)
}

// Print writes a view. It is built whole before the first byte is written, so
// that a program never reads half a document.
func Print(out io.Writer, format Format, colour bool, view View) error {
	data, err := build(format, colour, view)
	if err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	if _, err := out.Write(data); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

func build(format Format, colour bool, view View) ([]byte, error) {
	switch format {
	case Table:
		var buffer bytes.Buffer
		view.Text(&Text{out: &buffer, colour: colour})
		return buffer.Bytes(), nil
	case JSON:
		return indented(view)
	case YAML:
		return yaml.Marshal(view)
	}
	return nil, fmt.Errorf("there is no form of output %q", format)
}

func indented(value any) ([]byte, error) {
	data, err := json.MarshalIndent(value, "", "  ")
	return append(data, '\n'), err
}
