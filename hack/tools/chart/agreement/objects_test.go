// Package agreement_test holds the ways to install against each other: the Helm chart,
// the Kustomize base with its overlays and components, and the command line.
package agreement_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	marshal "sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/chart/render"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
)

const (
	manifests = "../../../../manifests"
	chart     = manifests + "/chart"

	managedBy = "app.kubernetes.io/managed-by"
)

// objects by kind and name.
type objects map[string]*unstructured.Unstructured

func decode(t *testing.T, text []byte) objects {
	t.Helper()
	found := objects{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); err != nil {
			if err.Error() == "EOF" {
				return found
			}
			t.Fatalf("decoding: %v\n%s", err, text)
		}
		if len(object.Object) == 0 {
			continue
		}
		name := object.GetKind() + "/" + object.GetName()
		if namespaced := object.GetKind() == "Role" || object.GetKind() == "RoleBinding"; namespaced && object.GetName() == api.AgentSteps {
			name += " in " + object.GetNamespace()
		}
		if found[name] != nil {
			t.Fatalf("%s is there twice", name)
		}
		// The CLI and Helm each put their own on, Helm when it installs.
		labels := object.GetLabels()
		delete(labels, managedBy)
		object.SetLabels(labels)
		found[name] = object
	}
}

// fromChart prints the chart.
func fromChart(t *testing.T, options render.Options) objects {
	t.Helper()
	files, err := render.Chart(chart, options)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, []byte(strings.Join(slices.Collect(maps.Values(files)), "---\n")))
}

// fromKustomize builds a folder.
func fromKustomize(t *testing.T, folder string) objects {
	t.Helper()
	text, err := build(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, text)
}

func build(_ context.Context, folder string) ([]byte, error) {
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsRootOnly
	built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, err
	}
	return built.AsYaml()
}

// fromCLI runs the command line: install --dry-run=client -o yaml.
func fromCLI(t *testing.T, arguments ...string) objects {
	t.Helper()
	return decode(t, []byte(kubectl(t, append([]string{"install", "--dry-run=client", "-o", "yaml"}, arguments...)...)))
}

// kubectl runs a command of the plugin and returns its standard output.
func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	var out, said bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &said}
	if err := cli.Execute(context.Background(), streams, arguments); err != nil {
		t.Fatalf("kubectl nodecleanup %s: %v\n%s", strings.Join(arguments, " "), err, said.String())
	}
	return out.String()
}

// wantSame compares object by object. The config is compared as what it says: its
// comments and the order of its fields are not.
func wantSame(t *testing.T, got, want objects) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		if !reflect.DeepEqual(meaning(t, got[name]), meaning(t, want[name])) {
			t.Errorf("%s is\n%s\nand should be\n%s", name, text(t, got[name]), text(t, want[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if want[name] == nil {
			t.Errorf("%s should not be there", name)
		}
	}
	if len(want) < 10 {
		t.Errorf("only %d objects were compared", len(want))
	}
}

func meaning(t *testing.T, object *unstructured.Unstructured) map[string]any {
	t.Helper()
	if object.GetName() != api.ConfigName {
		return object.Object
	}
	written, _, err := unstructured.NestedString(object.Object, "data", api.ConfigKey)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := marshal.Unmarshal([]byte(written), &config); err != nil {
		t.Fatalf("the config is not YAML: %v\n%s", err, written)
	}
	object = object.DeepCopy()
	unstructured.RemoveNestedField(object.Object, "data", api.ConfigKey)
	object.Object["config"] = config
	return object.Object
}

func text(t *testing.T, object *unstructured.Unstructured) string {
	t.Helper()
	written, err := marshal.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(written)
}

// readValues reads a values file; none gives none.
func readValues(t *testing.T, file string) map[string]any {
	t.Helper()
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(written))
}

func parse(t testing.TB, written string) map[string]any {
	t.Helper()
	values := map[string]any{}
	if err := marshal.Unmarshal([]byte(written), &values); err != nil {
		t.Fatalf("%v\n%s", err, written)
	}
	return values
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
