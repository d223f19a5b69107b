// Package printer prints view models: tables for people, JSON and YAML for programs. It does not
// access a cluster.
package printer

import (
	"bytes"
	"fmt"
	"io"
)

// APIVersion of every view in JSON and YAML.
const APIVersion = "nodecleanup.io/v1alpha1"

// View is a printable struct with apiVersion and kind. Its JSON is the output for programs.
type View interface {
	// Text writes the form for people.
	Text(*Text)
	// Names are the objects that the view describes, such as "node/ip-10-0-7".
	Names() []string
}

// Wider is a view with more columns than fit on most screens.
type Wider interface{ Wide(*Text) }

// Shorter is a view with a form of one or two lines.
type Shorter interface{ Short(*Text) }

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
	var buffer bytes.Buffer
	text := &Text{out: &buffer, colour: colour}
	switch format {
	case Table:
		view.Text(text)
	case Wide:
		if wider, can := view.(Wider); can {
			wider.Wide(text)
		} else {
			view.Text(text)
		}
	case Short:
		if shorter, can := view.(Shorter); can {
			shorter.Short(text)
		} else {
			view.Text(text)
		}
	case Name:
		for _, name := range view.Names() {
			text.Line("%s", name)
		}
	default:
		return structured(format, view)
	}
	return buffer.Bytes(), nil
}
