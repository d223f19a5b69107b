package printer

import (
	"bytes"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
)

// Objects writes Kubernetes objects unchanged, as kubectl would: YAML documents, or a List in any
// other format.
func Objects(out io.Writer, format Format, objects []*unstructured.Unstructured) error {
	data, err := buildObjects(format, objects)
	if err != nil {
		return fmt.Errorf("printing objects: %w", err)
	}
	if _, err := out.Write(data); err != nil {
		return fmt.Errorf("printing objects: %w", err)
	}
	return nil
}

func buildObjects(format Format, objects []*unstructured.Unstructured) ([]byte, error) {
	var printer printers.ResourcePrinter = &printers.NamePrinter{ShortOutput: true}
	if format != Name {
		var err error
		if printer, err = objectPrinter(format); err != nil {
			return nil, err
		}
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
	for _, object := range objects {
		list.Items = append(list.Items, *object)
	}
	shown := []runtime.Object{list}
	if format == YAML {
		shown = shown[:0]
		for _, object := range objects {
			shown = append(shown, object)
		}
	}
	var buffer bytes.Buffer
	for _, object := range shown {
		if err := printer.PrintObj(object, &buffer); err != nil {
			return nil, err
		}
	}
	return buffer.Bytes(), nil
}
