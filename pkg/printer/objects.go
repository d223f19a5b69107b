package printer

import (
	"bytes"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Objects writes Kubernetes objects as they are: YAML documents, or a JSON List,
// either of which kubectl apply -f takes.
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
	switch format {
	case JSON:
		items := make([]any, len(objects))
		for i, object := range objects {
			items[i] = object.Object
		}
		return indented(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	case YAML:
		var buffer bytes.Buffer
		for i, object := range objects {
			if i > 0 {
				buffer.WriteString("---\n")
			}
			data, err := yaml.Marshal(object.Object)
			if err != nil {
				return nil, err
			}
			buffer.Write(data)
		}
		return buffer.Bytes(), nil
	}
	return nil, fmt.Errorf("there is no form of output %q", format)
}
