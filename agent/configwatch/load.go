package configwatch

import (
	"context"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Open loads the config from the file or the ConfigMap. The error about an invalid config names
// every fault.
func Open(ctx context.Context, options Options) (*Watch, error) {
	w := &Watch{Options: options}
	source, text, err := w.read(ctx)
	if err != nil {
		return nil, err
	}
	first, err := w.parse(text)
	if err != nil {
		return nil, fmt.Errorf("the config in %s is refused; no node is released until it is fixed:\n%w", source, err)
	}
	w.Log.Info("config loaded", "hash", first.Hash, "steps", len(first.Steps), "dryRun", first.DryRun)
	if w.File != "" {
		text = nil // The agent publishes only what is in the cluster.
	}
	w.activate(ctx, first, string(text))
	w.warnOfMissingRights(ctx, first)
	return w, nil
}

func (w *Watch) parse(text []byte) (*config.Config, error) {
	parsed, err := config.Parse(text, w.Catalog)
	if err != nil {
		return nil, err
	}
	parsed.DryRun = parsed.DryRun || w.DryRun
	return parsed, nil
}

func (w *Watch) read(ctx context.Context) (source string, text []byte, err error) {
	if w.File != "" {
		text, err = os.ReadFile(w.File)
		if err != nil {
			return "", nil, fmt.Errorf("reading the config: %w", err)
		}
		return "file " + w.File, text, nil
	}
	source = fmt.Sprintf("configmap %s/%s", w.Namespace, api.ConfigName)
	configMap, err := w.Client.CoreV1().ConfigMaps(w.Namespace).Get(ctx, api.ConfigName, metav1.GetOptions{})
	if err != nil {
		return "", nil, fmt.Errorf("reading the config from %s (kubectl nodecleanup install makes it): %w", source, err)
	}
	value, found := configMap.Data[api.ConfigKey]
	if !found {
		return "", nil, fmt.Errorf("reading the config from %s: it has no key %s", source, api.ConfigKey)
	}
	return source, []byte(value), nil
}
