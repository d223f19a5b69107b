package printer_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

func TestExpressions(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "expression")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for format, test := range map[string]struct {
		view printer.View
		want string
	}{
		"jsonpath={.nodes[*].name}":                                        {nodes(), "ip-10-0-7 ip-10-0-8 ip-10-0-9"},
		`jsonpath={range .nodes[?(@.stuck)]}{.name}: {.reason}{"\n"}{end}`: {nodes(), "ip-10-0-7: no tries left\n"},
		"jsonpath={.apiVersion}/{.kind}":                                   {nodes(), "nodecleanup.io/v1alpha1/NodeList"},
		"jsonpath={.nothing}":                                              {nodes(), ""},
		"jsonpath={.runs[0].steps[0].seconds}":                             {history(), "41"},
		"jsonpath-file=" + file("{.nodes[0].uid}"):                         {nodes(), "u-7"},
		"jsonpath-as-json={.volumes}":                                      {plan(), "[\n    [\n        \"pv-1\",\n        \"pv-2\"\n    ]\n]\n"},
		"custom-columns=NAME:.name,PROTECTED:{.protected},STEP:step":       {nodes(), "NAME        PROTECTED   STEP\nip-10-0-7   true        2/4 storage\nip-10-0-8   true        <none>\nip-10-0-9   false       <none>\n"},
		"custom-columns=RECORD:.record,STEPS:.steps[*].name":               {history(), "RECORD             STEPS\nrun-ip-10-0-7-u7   drain,storage\nrun-ip-10-0-6-u6   <none>\nrun-ip-10-0-5-u5   bmc\n"},
		"custom-columns=PLAN:.hash,NODE:.node":                             {plan(), "PLAN                      NODE\n9f3c1-0a2b4-77d1e-c0ffe   ip-10-0-7\n"},
		"custom-columns-file=" + file("NODE  UID\n.name {.uid}\n"):         {nodes(), "NODE        UID\nip-10-0-7   u-7\nip-10-0-8   u-8\nip-10-0-9   u-9\n"},
	} {
		var out bytes.Buffer
		if err := printer.Print(&out, printer.Format(format), false, test.view); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if out.String() != test.want {
			t.Errorf("%s: got %q, want %q", format, out.String(), test.want)
		}
	}
}

func TestObjects(t *testing.T) {
	objects := []*unstructured.Unstructured{
		{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "a"}}},
		{Object: map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": "b"}}},
	}
	for format, want := range map[printer.Format]string{
		"yaml": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: b\n",
		"name": "namespace/a\nclusterrole.rbac.authorization.k8s.io/b\n",
		"json": "{\n    \"apiVersion\": \"v1\",\n    \"items\": [\n        {\n            \"apiVersion\": \"v1\",\n            \"kind\": \"Namespace\",\n            \"metadata\": {\n                \"name\": \"a\"\n            }\n        },\n" +
			"        {\n            \"apiVersion\": \"rbac.authorization.k8s.io/v1\",\n            \"kind\": \"ClusterRole\",\n            \"metadata\": {\n                \"name\": \"b\"\n            }\n        }\n    ],\n    \"kind\": \"List\"\n}\n",
		"jsonpath={.items[*].kind}":       "Namespace ClusterRole",
		"custom-columns=N:.metadata.name": "N\na\nb\n",
	} {
		var out bytes.Buffer
		if err := printer.Objects(&out, format, objects); err != nil || out.String() != want {
			t.Errorf("%s: %v, got %q, want %q", format, err, out.String(), want)
		}
	}
	var out bytes.Buffer
	if err := printer.Objects(&out, "table", objects); err == nil || out.Len() > 0 {
		t.Errorf("printed %q, error %v", out.String(), err)
	}
}
