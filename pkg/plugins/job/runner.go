package job

import (
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Runner runs the Job of another plugin.
type Runner interface {
	cleanup.Plugin
	cleanup.Withdrawer
	cleanup.HealthChecker
	cleanup.NamespaceRuleRequirer
}

// RunnerOptions are the options that other plugins set. The other options have their defaults.
type RunnerOptions struct {
	Namespace          string                 `json:"namespace"`
	ServiceAccountName string                 `json:"serviceAccountName"`
	Template           corev1.PodTemplateSpec `json:"template"`
	LogProgress        bool                   `json:"logProgress"`
}

// NewRunner returns a Runner. The namespace agent is that of the agent, empty if it is not known. The error is permanent:
// the options have faults.
func NewRunner(client kubernetes.Interface, clock clock.WithTicker, agent string, options RunnerOptions) (Runner, error) {
	data, err := json.Marshal(options)
	if err != nil {
		return nil, cleanup.Permanent(fmt.Errorf("encoding the options of the Job: %w", err))
	}
	bound, faults := Descriptor(client, clock, agent).Bind(data)
	if len(faults) > 0 {
		return nil, cleanup.Permanent(errors.Join(faults...))
	}
	return bound.(Runner), nil
}
