package agent

import (
	"context"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// parseConfig returns what checks the text of a config.
func parseConfig(options Options, catalog []cleanup.Descriptor) func([]byte) (*config.Config, error) {
	return func(text []byte) (*config.Config, error) {
		settings, err := config.Parse(text, catalog)
		if err != nil {
			return nil, err
		}
		settings.DryRun = settings.DryRun || options.DryRun
		return settings, nil
	}
}

// loadConfig reads and checks the config, from the file or the ConfigMap.
func loadConfig(ctx context.Context, client kubernetes.Interface, options Options, parse func([]byte) (*config.Config, error)) (*config.Config, error) {
	source, data, err := readConfig(ctx, client, options)
	if err != nil {
		return nil, err
	}
	settings, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("the config in %s is refused; no node is released until it is mended:\n%w", source, err)
	}
	return settings, nil
}

func readConfig(ctx context.Context, client kubernetes.Interface, options Options) (source string, data []byte, err error) {
	if options.ConfigFile != "" {
		data, err = os.ReadFile(options.ConfigFile)
		if err != nil {
			return "", nil, fmt.Errorf("reading the config: %w", err)
		}
		return "file " + options.ConfigFile, data, nil
	}
	source = fmt.Sprintf("configmap %s/%s", options.Namespace, api.ConfigName)
	configMap, err := client.CoreV1().ConfigMaps(options.Namespace).Get(ctx, api.ConfigName, metav1.GetOptions{})
	if err != nil {
		return "", nil, fmt.Errorf("reading the config from %s (kubectl nodecleanup install makes it): %w", source, err)
	}
	text, found := configMap.Data[api.ConfigKey]
	if !found {
		return "", nil, fmt.Errorf("reading the config from %s: it has no key %s", source, api.ConfigKey)
	}
	return source, []byte(text), nil
}
