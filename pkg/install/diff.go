package install

import (
	"fmt"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// contextLines are shown around a change, as diff -u does.
const contextLines = 3

// Diff returns what the result changes, as diff -u writes it; empty when nothing.
func (r Result) Diff() (string, error) {
	after := r.Object
	switch r.Action {
	case Unchanged, Kept:
		return "", nil
	case Deleted:
		after = nil
	}
	from, err := text(r.Before)
	if err != nil {
		return "", err
	}
	to, err := text(after)
	if err != nil {
		return "", err
	}
	return difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(from), B: difflib.SplitLines(to),
		FromFile: "on the cluster: " + r.Name(), ToFile: "to be applied: " + r.Name(), Context: contextLines,
	})
}

// text is an object without bookkeeping; nothing for nil.
func text(object *unstructured.Unstructured) (string, error) {
	if object == nil {
		return "", nil
	}
	stripped := essence(object)
	if metadata, is := stripped["metadata"].(map[string]any); is {
		for _, made := range []string{"uid", "creationTimestamp"} {
			delete(metadata, made)
		}
	}
	data, err := yaml.Marshal(stripped)
	if err != nil {
		return "", fmt.Errorf("comparing %s: %w", objectName(object.GroupVersionKind(), object.GetName()), err)
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}
