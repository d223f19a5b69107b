package printer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
)

// Format is a form of output, as -o names it: "table", or "jsonpath={.nodes}".
type Format string

// The forms of output that have no argument.
const (
	Table Format = "table"
	// Wide is the table with more columns.
	Wide Format = "wide"
	// Short is one or two lines, for a shell prompt or a chat.
	Short Format = "short"
	JSON  Format = "json"
	YAML  Format = "yaml"
	// Name is one "kind/name" a line, for other commands.
	Name Format = "name"
)

// Forms are the formats of every view. A view without a wide or a short form is printed as a
// table.
var Forms = []Format{Table, Wide, Short, JSON, YAML, Name}

// more are kubectl's other formats; those that end in "=" take an argument.
var more = []string{"kyaml", "jsonpath=", "jsonpath-file=", "jsonpath-as-json=", customColumns + "=", customColumnsFile + "="}

// Formats are all that a view can be printed in.
func Formats() []string {
	var all []string
	for _, form := range Forms {
		all = append(all, string(form))
	}
	return append(all, more...)
}

// ObjectFormats are the formats of Kubernetes objects.
func ObjectFormats() []string {
	return append([]string{string(JSON), string(YAML), string(Name)}, more...)
}

// Validate returns an error for an unknown format or a wrong argument.
func (f Format) Validate() error {
	switch f {
	case Table, Wide, Short, Name:
		return nil
	}
	_, err := objectPrinter(f)
	return err
}

// objectPrinter returns kubectl's printer for a format. PrintFlags as a whole would add
// go-template, and grow the program from 34 to 62 MB (docs/dependencies.md).
func objectPrinter(format Format) (printers.ResourcePrinter, error) {
	name, argument, _ := strings.Cut(string(format), "=")
	if name == customColumns || name == customColumnsFile {
		return newColumns(name, argument)
	}
	for _, flags := range []interface {
		ToPrinter(string) (printers.ResourcePrinter, error)
	}{&genericclioptions.JSONYamlPrintFlags{ShowManagedFields: true}, &genericclioptions.JSONPathPrintFlags{}} {
		printer, err := flags.ToPrinter(string(format))
		if !genericclioptions.IsNoCompatiblePrinterError(err) {
			return printer, err
		}
	}
	return nil, fmt.Errorf("unknown output format %q", format)
}

// object returns the JSON of a view as an object for the printers of kubectl. Views become objects
// only here.
func object(view View) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(view)
	if err != nil {
		return nil, err
	}
	content := map[string]any{}
	if err := utiljson.Unmarshal(data, &content); err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// Lister is a view that is a list. custom-columns prints a row for each item.
type Lister interface {
	// Rows names the field that has them.
	Rows() string
}

// rows returns the objects that custom-columns prints.
func rows(view View, whole *unstructured.Unstructured) (runtime.Object, error) {
	lister, is := view.(Lister)
	if !is {
		return whole, nil
	}
	items, _, err := unstructured.NestedSlice(whole.Object, lister.Rows())
	if err != nil {
		return nil, err
	}
	list := &unstructured.UnstructuredList{}
	for _, item := range items {
		content, is := item.(map[string]any)
		if !is {
			return nil, fmt.Errorf("%s has an item that is not an object", lister.Rows())
		}
		list.Items = append(list.Items, unstructured.Unstructured{Object: content})
	}
	return list, nil
}

// structured writes a view in a form for programs.
func structured(format Format, view View) ([]byte, error) {
	printer, err := objectPrinter(format)
	if err != nil {
		return nil, err
	}
	whole, err := object(view)
	if err != nil {
		return nil, err
	}
	var shown runtime.Object = whole
	if _, is := printer.(*columns); is {
		if shown, err = rows(view, whole); err != nil {
			return nil, err
		}
	}
	var buffer bytes.Buffer
	if err := printer.PrintObj(shown, &buffer); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
