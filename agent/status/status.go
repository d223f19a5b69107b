// Package status publishes the status of the agent, for the CLI: a ConfigMap with the version, the
// config, and the health of each plugin. Only the leader writes it.
package status

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Options are the dependencies of a Publisher. All are required.
type Options struct {
	Client    kubernetes.Interface
	Namespace string
	// Version and Identity of this agent.
	Version, Identity string
	// Catalog lists the plugins of this agent.
	Catalog []cleanup.Descriptor
	// Fence returns an error unless this agent is the leader.
	Fence func() error
	Log   *slog.Logger
}

// Publisher holds the status and writes it. A write that fails is logged: no cleanup depends on
// it. A Publisher is safe for concurrent use.
type Publisher struct {
	Options

	mutex  sync.Mutex
	status api.AgentStatus
}

// New returns a Publisher that has written nothing.
func New(options Options) *Publisher {
	return &Publisher{Options: options, status: api.AgentStatus{Version: options.Version, Leader: options.Identity, Catalog: describe(options.Catalog)}}
}

// describe returns what the status says about plugins.
func describe(catalog []cleanup.Descriptor) []api.PluginInfo {
	var plugins []api.PluginInfo
	for _, descriptor := range catalog {
		plugins = append(plugins, api.PluginInfo{
			Name: descriptor.Name, Summary: descriptor.Summary, Critical: descriptor.Defaults.Critical,
			Timeout: metav1.Duration{Duration: descriptor.Defaults.Timeout}, Options: descriptor.OptionNames(),
			Notifies: descriptor.BindNotifier != nil, OnlyNotifies: descriptor.Bind == nil,
		})
	}
	return plugins
}

// Publish writes the status if this agent is the leader. Call it when it has become the leader.
func (p *Publisher) Publish(ctx context.Context) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.Fence() != nil {
		return
	}
	if err := p.write(ctx); err != nil {
		p.Log.Error("the agent's status cannot be written", "err", err)
	}
}

// ConfigAccepted publishes which config is active, and its text if that is not too long.
func (p *Publisher) ConfigAccepted(ctx context.Context, accepted *config.Config, text string) {
	if len(text) > api.MaxAcceptedConfig {
		p.Log.Warn("the config is too long to be published, so config view --accepted cannot print it", "bytes", len(text), "maximum", api.MaxAcceptedConfig)
		text = ""
	}
	p.update(ctx, func(status *api.AgentStatus) {
		status.ConfigHash, status.DryRun, status.ConfigError, status.AcceptedConfig = accepted.Hash, accepted.DryRun, "", text
	})
}

// ConfigRejected publishes why the newest config is not active.
func (p *Publisher) ConfigRejected(ctx context.Context, err error) {
	p.update(ctx, func(status *api.AgentStatus) { status.ConfigError = err.Error() })
}

// CertificateExpiresAt publishes when the CA of the webhook expires.
func (p *Publisher) CertificateExpiresAt(ctx context.Context, end time.Time) {
	p.update(ctx, func(status *api.AgentStatus) { status.CertificateExpiresAt = &metav1.Time{Time: end} })
}

func (p *Publisher) update(ctx context.Context, change func(*api.AgentStatus)) {
	p.mutex.Lock()
	change(&p.status)
	p.mutex.Unlock()
	p.Publish(ctx)
}

// write keeps the annotations of the ConfigMap: with one, users request a health check.
func (p *Publisher) write(ctx context.Context) error {
	p.status.UpdatedAt = metav1.NewTime(time.Now())
	configMap, err := api.EncodeStatus(p.Namespace, &p.status)
	if err != nil {
		return err
	}
	data := map[string]any{api.AcceptedConfigKey: nil} // Removes that of another leader.
	for key, value := range configMap.Data {
		data[key] = value
	}
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return fmt.Errorf("encoding the agent's status: %w", err)
	}
	configMaps := p.Client.CoreV1().ConfigMaps(p.Namespace)
	if _, err = configMaps.Patch(ctx, api.StatusName, types.MergePatchType, patch, metav1.PatchOptions{}); apierrors.IsNotFound(err) {
		_, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing configmap %s/%s: %w", p.Namespace, api.StatusName, err)
	}
	return nil
}
