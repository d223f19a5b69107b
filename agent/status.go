package agent

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

// status is what the agent says about itself. Only the leader writes it down.
type status struct {
	client    kubernetes.Interface
	namespace string
	fence     func() error
	log       *slog.Logger

	mutex sync.Mutex
	says  api.AgentStatus
}

func newStatus(client kubernetes.Interface, options Options, fence func() error) *status {
	return &status{
		client: client, namespace: options.Namespace, fence: fence, log: options.Log,
		says: api.AgentStatus{Version: options.Version, Leader: options.Identity},
	}
}

// change alters what is said, and writes it. A write that fails is logged: the
// cleanups do not depend on it.
func (s *status) change(ctx context.Context, alter func(*api.AgentStatus)) {
	s.mutex.Lock()
	alter(&s.says)
	s.mutex.Unlock()
	s.write(ctx)
}

// write writes what is said, where this agent is the leader; otherwise that is
// done when it is.
func (s *status) write(ctx context.Context) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.fence() != nil {
		return
	}
	if err := s.store(ctx); err != nil {
		s.log.Error("the agent's status cannot be written", "err", err)
	}
}

// store leaves the annotations alone, in which others ask for a health check.
func (s *status) store(ctx context.Context) error {
	s.says.UpdatedAt = metav1.NewTime(time.Now())
	configMap, err := api.EncodeStatus(s.namespace, &s.says)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"data": configMap.Data})
	if err != nil {
		return fmt.Errorf("encoding the agent's status: %w", err)
	}
	configMaps := s.client.CoreV1().ConfigMaps(s.namespace)
	if _, err = configMaps.Patch(ctx, api.StatusName, types.MergePatchType, patch, metav1.PatchOptions{}); apierrors.IsNotFound(err) {
		_, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing configmap %s/%s: %w", s.namespace, api.StatusName, err)
	}
	return nil
}

// accepted notes which config is in force.
func accepted(settings *config.Config) func(*api.AgentStatus) {
	return func(says *api.AgentStatus) {
		says.ConfigHash, says.DryRun, says.ConfigError = settings.Hash, settings.DryRun, ""
	}
}

// refused notes why the newest config is not in force.
func refused(err error) func(*api.AgentStatus) {
	return func(says *api.AgentStatus) { says.ConfigError = err.Error() }
}

// expiring notes when the webhook's CA ends.
func expiring(end time.Time) func(*api.AgentStatus) {
	return func(says *api.AgentStatus) { says.CertificateExpiresAt = &metav1.Time{Time: end} }
}
