package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// BaseName is the resource name by which a kustomization uses the objects of this CLI as its base.
const BaseName = "nodecleanup-base"

// outputDelay is how long to wait, after kubectl was killed, for a process that it started and
// that still holds its output. A kubectl on the PATH may be a script.
const outputDelay = time.Second

// KubectlKustomize builds a folder with the operator's own kubectl, which it kills when ctx ends.
// Kustomize as a library would double the size of this program. kubectl kustomize asks no API
// server and does not read the kubeconfig, so it gets none of the flags that name a cluster.
func KubectlKustomize(ctx context.Context, folder string) ([]byte, error) {
	command := exec.CommandContext(ctx, "kubectl", "kustomize", folder)
	command.WaitDelay = outputDelay
	var stderr bytes.Buffer
	command.Stderr = &stderr
	built, err := command.Output()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("running kubectl kustomize: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("running kubectl kustomize: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return built, nil
}

// kustomize builds a copy of a user's kustomization with the objects beside it.
// The folder itself is not touched, and nothing is fetched.
func kustomize(ctx context.Context, options Options, objects []*unstructured.Unstructured) (result []*unstructured.Unstructured, err error) {
	copied, err := os.MkdirTemp("", "nodecleanup-kustomize-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(copied)) }()
	if err := os.CopyFS(copied, os.DirFS(options.Kustomization)); err != nil {
		return nil, err
	}
	if err := writeBase(filepath.Join(copied, BaseName), objects); err != nil {
		return nil, err
	}
	if err := nothingRemote(copied); err != nil {
		return nil, err
	}
	build := options.Build
	if build == nil {
		build = KubectlKustomize
	}
	data, err := build(ctx, copied)
	if err != nil {
		return nil, err
	}
	if result, err = decode(data); err != nil {
		return nil, err
	}
	base := map[string]bool{}
	for _, object := range objects {
		base[identity(object)] = true
	}
	for _, object := range result {
		if _, err := kindOf(object.GroupVersionKind()); err != nil {
			return nil, fmt.Errorf("%s is of a kind that an install has not; apply it by kubectl instead", objectName(object.GroupVersionKind(), object.GetName()))
		}
		if elsewhere := object.GetNamespace(); elsewhere != "" && elsewhere != options.Namespace && !base[identity(object)] {
			return nil, fmt.Errorf("%s is in namespace %s, and this install is in %s; apply it by kubectl instead", objectName(object.GroupVersionKind(), object.GetName()), elsewhere, options.Namespace)
		}
		// An uninstall finds objects by this label: without it a binding for the agent would
		// remain.
		object.SetLabels(with(object.GetLabels(), api.LabelName, api.LabelNameValue))
	}
	return inOrder(result, objects), nil
}

// ConfigBrought returns the config in rendered objects if a kustomization has changed it from the
// base; nil otherwise.
func (o Options) ConfigBrought(objects []*unstructured.Unstructured) ([]byte, error) {
	if o.Kustomization == "" {
		return nil, nil
	}
	base, err := readBase()
	if err != nil {
		return nil, err
	}
	config := func(objects []*unstructured.Unstructured) string {
		for _, object := range objects {
			if isConfig(object) {
				data, _, _ := unstructured.NestedString(object.Object, "data", api.ConfigKey)
				return data
			}
		}
		return ""
	}
	if brought := config(objects); brought != "" && brought != config(base) {
		return []byte(brought), nil
	}
	return nil, nil
}

func writeBase(folder string, objects []*unstructured.Unstructured) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	var documents []string
	for _, object := range objects {
		data, err := yaml.Marshal(object.Object)
		if err != nil {
			return err
		}
		documents = append(documents, string(data))
	}
	const kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [objects.yaml]\n"
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "objects.yaml"), []byte(strings.Join(documents, "---\n")), 0o600),
		os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(kustomization), 0o600),
	)
}

// nothingRemote rejects remote resources, which kustomize would download: this CLI connects only
// to the API server. It also rejects paths that leave the folder.
func nothingRemote(root string) error {
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, entry.Name()) {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		where := strings.TrimPrefix(name, root+string(filepath.Separator))
		var file struct{ Resources, Components, Bases, Crds []string }
		var all map[string]any
		if err := errors.Join(yaml.Unmarshal(data, &file), yaml.Unmarshal(data, &all)); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		for _, resource := range slices.Concat(file.Resources, file.Components, file.Bases, file.Crds) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), resource)); err != nil {
				return fmt.Errorf("%s names %q, which is not in the folder; nothing is fetched from elsewhere", where, resource)
			}
		}
		if address := remote(all, false); address != "" {
			return fmt.Errorf("%s names %q; nothing is fetched from elsewhere", where, address)
		}
		return nil
	})
}

// pathFields of a kustomization name files. kustomize downloads them if they are URLs. Some fields
// may contain the file itself in several lines.
var pathFields = []string{
	"path", "files", "env", "envs", "patchesstrategicmerge", "transformers", "generators", "validators", "configurations",
	"helmcharts", "helmchartinflationgenerator",
}

// remote returns an address in a field that names files, or "".
func remote(value any, names bool) string {
	switch value := value.(type) {
	case string:
		if names && strings.Contains(value, "://") && !strings.Contains(strings.TrimSpace(value), "\n") {
			return value
		}
	case []any:
		for _, one := range value {
			if found := remote(one, names); found != "" {
				return found
			}
		}
	case map[string]any:
		for key, one := range value {
			if found := remote(one, names || slices.Contains(pathFields, strings.ToLower(key))); found != "" {
				return found
			}
		}
	}
	return ""
}

func with(labels map[string]string, key, value string) map[string]string {
	if labels == nil {
		labels = map[string]string{}
	}
	labels[key] = value
	return labels
}

// inOrder puts the objects into the order in which they were before; new ones
// come last.
func inOrder(objects, before []*unstructured.Unstructured) []*unstructured.Unstructured {
	place := map[string]int{}
	for i, object := range before {
		place[identity(object)] = i
	}
	rank := func(object *unstructured.Unstructured) int {
		if at, known := place[identity(object)]; known {
			return at
		}
		return len(before)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return objects
}

func identity(object *unstructured.Unstructured) string {
	return object.GetKind() + "/" + object.GetNamespace() + "/" + object.GetName()
}
