// Package status publishes the status of the agent.
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
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Options are the dependencies of a Publisher. All are required.
type Options struct {
	Client    kubernetes.Interface
	Namespace string
	// Version and Identity of this agent.
	Version, Identity string
	// Fence returns an error unless this agent is the leader.
	Fence func() error
	Log   *slog.Logger
}

// Publisher holds what the agent says about itself. Only the leader writes it down.
type Publisher struct {
	Options

	mutex sync.Mutex
	says  api.AgentStatus
}

// New returns a Publisher that has written nothing.
func New(options Options) *Publisher {
	return &Publisher{Options: options, says: api.AgentStatus{Version: options.Version, Leader: options.Identity}}
}

// change alters what is said, and writes it. A write that fails is logged: the
// cleanups do not depend on it.
func (s *Publisher) change(ctx context.Context, alter func(*api.AgentStatus)) {
	s.mutex.Lock()
	alter(&s.says)
	s.mutex.Unlock()
	s.Publish(ctx)
}

// Publish writes what is said, where this agent is the leader; otherwise that is
// done when it is.
func (s *Publisher) Publish(ctx context.Context) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.Fence() != nil {
		return
	}
	if err := s.store(ctx); err != nil {
		s.Log.Error("the agent's status cannot be written", "err", err)
	}
}

// store leaves the annotations alone, in which others ask for a health check.
func (s *Publisher) store(ctx context.Context) error {
	s.says.UpdatedAt = metav1.NewTime(time.Now())
	configMap, err := api.EncodeStatus(s.Namespace, &s.says)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"data": configMap.Data})
	if err != nil {
		return fmt.Errorf("encoding the agent's status: %w", err)
	}
	configMaps := s.Client.CoreV1().ConfigMaps(s.Namespace)
	if _, err = configMaps.Patch(ctx, api.StatusName, types.MergePatchType, patch, metav1.PatchOptions{}); apierrors.IsNotFound(err) {
		_, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing configmap %s/%s: %w", s.Namespace, api.StatusName, err)
	}
	return nil
}

// ConfigAccepted notes which config is in force.
func (s *Publisher) ConfigAccepted(ctx context.Context, settings *config.Config) {
	s.change(ctx, func(says *api.AgentStatus) {
		says.ConfigHash, says.DryRun, says.ConfigError = settings.Hash, settings.DryRun, ""
	})
}

// ConfigRejected notes why the newest config is not in force.
func (s *Publisher) ConfigRejected(ctx context.Context, err error) {
	s.change(ctx, func(says *api.AgentStatus) { says.ConfigError = err.Error() })
}

// CertificateExpiresAt notes when the webhook's CA ends.
func (s *Publisher) CertificateExpiresAt(ctx context.Context, end time.Time) {
	s.change(ctx, func(says *api.AgentStatus) { says.CertificateExpiresAt = &metav1.Time{Time: end} })
}
