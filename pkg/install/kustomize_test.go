package install

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// library is kustomize itself, as kubectl has it inside.
func library(_ context.Context, folder string) ([]byte, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, err
	}
	return built.AsYaml()
}

func TestKustomizationWithAndWithoutConfig(t *testing.T) {
	const config = "apiVersion: nodecleanup.io/v1alpha1\nkind: Config\nsteps: [{name: log, plugin: logger}]\n"
	patch := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nodecleanup-config, namespace: ops}\ndata:\n  config.yaml: |\n    " + strings.ReplaceAll(strings.TrimSuffix(config, "\n"), "\n", "\n    ") + "\n"
	for want, dir := range map[string]string{
		"":     folder(t, map[string]string{"kustomization.yaml": "resources: [nodecleanup-base]\ncommonAnnotations: {team: infra}\n"}),
		config: folder(t, map[string]string{"kustomization.yaml": "resources: [nodecleanup-base]\npatches: [{path: config.yaml}]\n", "config.yaml": patch}),
	} {
		options := Options{Namespace: "ops", Kustomization: dir, Build: library}
		objects, err := Render(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := options.ConfigBrought(objects); err != nil || string(got) != want {
			t.Errorf("brought %q, %v, want %q", got, err, want)
		}
	}
	if got, err := (Options{}).ConfigBrought(nil); err != nil || got != nil {
		t.Errorf("without a kustomization: %q, %v", got, err)
	}
}

func TestKustomizationUsesTheBase(t *testing.T) {
	dir := folder(t, map[string]string{
		"kustomization.yaml": "resources: [nodecleanup-base, extra.yaml]\ncommonAnnotations: {team: infra, see: \"https://example.com/a\"}\n",
		"extra.yaml":         "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra, namespace: ops}\n",
	})
	plain, err := Render(t.Context(), Options{Namespace: "ops"})
	if err != nil {
		t.Fatal(err)
	}
	built, err := Render(t.Context(), Options{Namespace: "ops", Kustomization: dir, Build: library})
	if err != nil {
		t.Fatal(err)
	}
	if len(built) != len(plain)+1 {
		t.Fatalf("%d objects, want those of the base, %d, and one more", len(built), len(plain))
	}
	for i, object := range plain {
		if identity(built[i]) != identity(object) {
			t.Errorf("object %d is %s, want %s", i, identity(built[i]), identity(object))
		}
		if built[i].GetAnnotations()["team"] != "infra" {
			t.Errorf("%s lacks the annotation", identity(built[i]))
		}
	}
	if last := built[len(plain)]; last.GetName() != "extra" || last.GetLabels()[api.LabelName] != api.LabelNameValue {
		t.Errorf("the last object is %s with labels %v", identity(last), last.GetLabels())
	}
}

func TestInvalidKustomizations(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		says  string
	}{
		"none":    {nil, "kustomization"},
		"remote":  {map[string]string{"kustomization.yaml": "resources: [nodecleanup-base, 'https://example.com/x//y?ref=v1']\n"}, "nothing is fetched"},
		"patch":   {map[string]string{"kustomization.yaml": "resources: [nodecleanup-base]\npatches: [{path: 'https://127.0.0.1:1/patch.yaml'}]\n"}, "nothing is fetched"},
		"files":   {map[string]string{"kustomization.yaml": "resources: [nodecleanup-base]\nconfigMapGenerator: [{name: x, files: ['a=https://127.0.0.1:1/a']}]\n"}, "nothing is fetched"},
		"replace": {map[string]string{"kustomization.yaml": "resources: [nodecleanup-base]\nreplacements: [{path: 'https://127.0.0.1:1/r.yaml'}]\n"}, "nothing is fetched"},
		"other":   {map[string]string{"kustomization.yaml": "resources: [nodecleanup-base, x.yaml]\n", "x.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: elsewhere}\n"}, "is in namespace elsewhere"},
		"strange": {map[string]string{"kustomization.yaml": "resources: [nodecleanup-base, x.yaml]\n", "x.yaml": "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\n"}, "apply it by kubectl"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Render(t.Context(), Options{Kustomization: folder(t, test.files), Build: library})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

// Every setting that is offered has an effect on a rendered object.
func TestEverySettingHasAnEffect(t *testing.T) {
	values := map[string]string{
		"failurePolicy": "Fail", "webhookTimeoutSeconds": "7", "guard.failurePolicy": "Fail", "guard.timeoutSeconds": "9", "resources.requests.cpu": "33m", "resources.requests.memory": "77Mi",
		"resources.limits.memory": "777Mi", "imagePullPolicy": "Never", "priorityClassName": "system-node-critical", "nodeSelector.LABEL": "there",
		"hostNetwork": "true", "ports.webhook": "10443", "ports.probes": "10081", "ports.metrics": "10080", "podSecurityContext.FIELD": "4711", "securityContext.FIELD": "4711",
	}
	fields := map[string]string{"podSecurityContext.FIELD": "podSecurityContext.fsGroup", "securityContext.FIELD": "securityContext.runAsUser"}
	plain := textOf(t, Options{})
	for _, name := range SettingNames() {
		value, known := values[name]
		if !known {
			t.Errorf("this test has no value for %s", name)
			continue
		}
		if field := fields[name]; field != "" {
			name = field
		}
		changed := textOf(t, Options{Set: map[string]string{name: value}})
		if changed == plain || !strings.Contains(changed, value) {
			t.Errorf("--set %s=%s has no effect", name, value)
		}
	}
}

func textOf(t *testing.T, options Options) string {
	t.Helper()
	objects, err := Render(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, object := range objects {
		content, err := text(&unstructured.Unstructured{Object: object.Object})
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(content)
	}
	return all.String()
}
