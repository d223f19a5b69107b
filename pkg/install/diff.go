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

// Diff returns the change in the format of diff -u, empty if there is none.
func (r Result) Diff() (string, error) {
	after := r.Object
	switch r.Action {
	case Unchanged, Kept:
		return "", nil
	case Deleted:
		after = nil
	}
	before, after := masked(r.Before, after)
	from, err := text(before)
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

// masked hides the values of Secrets as kubectl diff does: only whether one changes is shown.
func masked(before, after *unstructured.Unstructured) (*unstructured.Unstructured, *unstructured.Unstructured) {
	const hidden = "***"
	before, after = secretCopy(before), secretCopy(after)
	for _, field := range []string{"data", "stringData"} {
		was, will := values(before, field), values(after, field)
		for key, value := range was {
			other, stays := will[key]
			switch {
			case !stays:
				was[key] = hidden
			case value == other:
				was[key], will[key] = hidden, hidden
			default:
				was[key], will[key] = hidden+" (before)", hidden+" (after)"
			}
		}
		for key := range will {
			if _, known := was[key]; !known {
				will[key] = hidden
			}
		}
	}
	return before, after
}

// secretCopy returns a copy of a Secret, and any other object itself.
func secretCopy(object *unstructured.Unstructured) *unstructured.Unstructured {
	if object == nil || object.GetKind() != "Secret" {
		return object
	}
	return object.DeepCopy()
}

// values returns the values of a Secret, to be changed in place; nil for any other object.
func values(object *unstructured.Unstructured, field string) map[string]any {
	if object == nil || object.GetKind() != "Secret" {
		return nil
	}
	values, _ := object.Object[field].(map[string]any)
	return values
}

// text is an object without bookkeeping; nothing for nil.
func text(object *unstructured.Unstructured) (string, error) {
	if object == nil {
		return "", nil
	}
	stripped := trim(object)
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
