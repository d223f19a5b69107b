package agent

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/configwatch"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// settings are the config in force, and what follows when it changes.
type settings struct {
	*configwatch.Watch
	// changed is called after a new config took effect.
	changed func()
	file    bool
}

// newSettings loads the config; a bad one is an error that names every fault.
// Whoever needs to know of changes sets changed before follow is called.
func newSettings(ctx context.Context, client kubernetes.Interface, options Options, catalog []cleanup.Descriptor,
	meters *metrics.Metrics, report *status, recorder record.EventRecorder) (*settings, error) {
	parse := parseConfig(options, catalog)
	first, err := loadConfig(ctx, client, options, parse)
	if err != nil {
		return nil, err
	}
	options.Log.Info("config loaded", "hash", first.Hash, "steps", len(first.Steps), "dryRun", first.DryRun)
	meters.ConfigInForce(first.Hash, time.Now())
	report.change(ctx, accepted(first))
	s := &settings{file: options.ConfigFile != ""}
	s.Watch = configwatch.New(first, configwatch.Options{
		Client: client, Namespace: options.Namespace, Parse: parse,
		Accepted: func(changed *config.Config) {
			options.Log.Info("config changed", "hash", changed.Hash, "steps", len(changed.Steps), "dryRun", changed.DryRun)
			meters.ConfigReloaded(true)
			meters.ConfigInForce(changed.Hash, time.Now())
			report.change(ctx, accepted(changed))
			s.changed()
		},
		Rejected: func(configMap *corev1.ConfigMap, err error) {
			options.Log.Error("config refused, the last good one stays", "err", err)
			meters.ConfigReloaded(false)
			report.change(ctx, refused(err))
			recorder.Event(configMap, corev1.EventTypeWarning, "ConfigRejected", "The last good config stays in force. "+err.Error())
		},
	})
	return s, nil
}

// follow takes changes of the ConfigMap until ctx ends. A file is read once.
func (s *settings) follow(ctx context.Context) error {
	if s.file {
		return nil
	}
	return s.Run(ctx)
}

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
