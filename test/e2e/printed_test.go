//go:build linux

package e2e_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
)

// templateIsInstall holds the programs that people run against each other; hack/tools/chart has
// that for every value, with the libraries.
func templateIsInstall(t *testing.T) {
	template := exec.CommandContext(t.Context(), helmProgram, "template", "nodecleanup", filepath.Join(root, "manifests", "chart"), "--namespace", api.Namespace)
	fromHelm, err := template.Output()
	if err != nil {
		t.Fatalf("helm template: %v", err)
	}
	var fromInstall, said bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &fromInstall, ErrOut: &said}
	if err := cli.Execute(t.Context(), streams, []string{"install", "--dry-run=client", "-o", "yaml"}); err != nil {
		t.Fatalf("install --dry-run=client: %v\n%s", err, said.String())
	}
	got, want := decode(t, fromHelm), decode(t, fromInstall.Bytes())
	if len(want) < 10 {
		t.Fatalf("install prints %d objects", len(want))
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !reflect.DeepEqual(got[name], want[name]) {
			t.Errorf("%s: helm template prints\n%v\nand install\n%v", name, got[name], want[name])
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s is printed by helm template alone", name)
	}
}

// decode returns objects by kind and name, in a comparable form: without the label of the managing
// tool, and with the config as an object.
func decode(t *testing.T, text []byte) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		object := unstructured.Unstructured{}
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("decoding: %v\n%s", err, text)
		}
		if len(object.Object) == 0 {
			continue
		}
		labels := object.GetLabels()
		delete(labels, "app.kubernetes.io/managed-by")
		object.SetLabels(labels)
		if written, is, _ := unstructured.NestedString(object.Object, "data", api.ConfigKey); is {
			var config map[string]any
			if err := yaml.Unmarshal([]byte(written), &config); err != nil {
				t.Fatalf("decoding the config: %v\n%s", err, written)
			}
			object.Object["data"] = config
		}
		found[object.GetKind()+"/"+object.GetName()] = object.Object
	}
}

// takesOverlays has the API server look at every overlay, but for the kinds of operators that
// are not here.
func takesOverlays(t *testing.T) {
	kubectl(t, "create", "namespace", api.Namespace)
	for _, overlay := range []string{"development", "staging", "production"} {
		built := exec.CommandContext(t.Context(), shared.Kubectl(), "kustomize", filepath.Join(root, "manifests", "overlays", overlay))
		text, err := built.Output()
		if err != nil {
			t.Fatalf("kubectl kustomize %s: %v", overlay, err)
		}
		objects := slices.DeleteFunc(strings.Split(string(text), "\n---\n"), func(object string) bool {
			return strings.HasPrefix(object, "apiVersion: monitoring.coreos.com/")
		})
		if len(objects) < 10 {
			t.Fatalf("overlay %s has %d objects", overlay, len(objects))
		}
		kubectl(t, "apply", "--dry-run=server", "--validate=strict", "-f", write(t, overlay+".yaml", strings.Join(objects, "\n---\n")))
	}
	kubectl(t, "delete", "namespace", api.Namespace)
	awaitNoNamespace(t)
}
