package install

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func secret(data map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "slack"}, "data": data,
	}}
}

func TestDiffShowsNoSecret(t *testing.T) {
	before := secret(map[string]any{"kept": "a2VwdA==", "changed": "b2xk", "removed": "Z29uZQ=="})
	after := secret(map[string]any{"kept": "a2VwdA==", "changed": "bmV3", "added": "YWRkZWQ="})
	got, err := Result{Action: Configured, Object: after, Before: before}.Diff()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"-  changed: '*** (before)'", "+  changed: '*** (after)'", "+  added: '***'", "-  removed: '***'", "   kept: '***'"} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("missing %q in:\n%s", line, got)
		}
	}
	for _, value := range []string{"a2VwdA==", "b2xk", "bmV3", "YWRkZWQ=", "Z29uZQ=="} {
		if strings.Contains(got, value) {
			t.Errorf("%s is shown in:\n%s", value, got)
		}
	}
	if after.Object["data"].(map[string]any)["changed"] != "bmV3" {
		t.Error("the object itself was changed")
	}
	for _, result := range []Result{{Action: Created, Object: after}, {Action: Deleted, Object: after, Before: before}} {
		if got, err := result.Diff(); err != nil || strings.Contains(got, "bmV3") || strings.Contains(got, "b2xk") || !strings.Contains(got, "***") {
			t.Errorf("%s: %v\n%s", result.Action, err, got)
		}
	}
}
