package api

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Keys of the ConfigMap with the agent's status.
const (
	StatusKey = "status.json"
	// AcceptedConfigKey holds the text of the config that the agent accepted last.
	AcceptedConfigKey = "accepted-config.yaml"
)

// MaxAcceptedConfig is the length in bytes of the longest config that the agent publishes. A ConfigMap holds at most
// 1 MiB (https://kubernetes.io/docs/concepts/configuration/configmap/), and the status needs a part of it.
const MaxAcceptedConfig = 512 << 10

// AgentStatus is the status that the leader publishes.
type AgentStatus struct {
	Version string `json:"version"`
	// Leader is the identity that holds the Lease.
	Leader    string      `json:"leader"`
	UpdatedAt metav1.Time `json:"updatedAt"`
	// ConfigHash names the active config.
	ConfigHash string `json:"configHash"`
	DryRun     bool   `json:"dryRun,omitempty"`
	// ConfigError is the error of the newest config if the agent rejected it. Then ConfigHash
	// still names the previous config. It is empty for a valid config.
	ConfigError string `json:"configError,omitempty"`
	// Catalog lists the plugins that the agent has. It is nil if an older agent wrote the status.
	Catalog []PluginInfo `json:"catalog,omitempty"`
	// Plugins are the health of each step's plugin, in the order of the config.
	Plugins []PluginHealth `json:"plugins,omitempty"`
	// Notifications are the health of each notification's plugin, in the order of the config.
	Notifications []NotificationHealth `json:"notifications,omitempty"`
	// PreflightRequestedAt is the newest request for a health check that
	// Plugins answer, see AnnotationPreflightRequestedAt.
	PreflightRequestedAt string `json:"preflightRequestedAt,omitempty"`
	// CertificateExpiresAt is the end of the webhook's CA.
	CertificateExpiresAt *metav1.Time `json:"certificateExpiresAt,omitempty"`

	// AcceptedConfig is the text of the config that the agent accepted last, with its comments. It is empty if it is
	// longer than MaxAcceptedConfig, from a file, or if an older agent wrote the status. A config refers to Secrets
	// and holds none, and users who may read this ConfigMap may read the one with the config.
	AcceptedConfig string `json:"-"`
	// Pause is stored in the annotations, which operators write; Brake under its own key.
	Pause Pause `json:"-"`
	Brake Brake `json:"-"`
	// BrakeError is why the state of the brake cannot be decoded, nil if it can.
	BrakeError error `json:"-"`
}

// PluginInfo describes a plugin of the agent.
type PluginInfo struct {
	Name    string `json:"name"`
	Summary string `json:"summary,omitempty"`
	// Critical and Timeout apply to a step that does not set them; Timeout is 0 for the default of
	// the config.
	Critical bool            `json:"critical,omitempty"`
	Timeout  metav1.Duration `json:"timeout"`
	// Options are the names of the options, nil if the plugin does not name them.
	Options []string `json:"options"`
	// Notifies: notifications can use the plugin. OnlyNotifies: steps cannot.
	Notifies     bool `json:"notifies,omitempty"`
	OnlyNotifies bool `json:"onlyNotifies,omitempty"`
}

// PluginHealth is the result of a health check of one step's plugin.
type PluginHealth struct {
	Step     string `json:"step"`
	Plugin   string `json:"plugin"`
	Critical bool   `json:"critical"`
	// Checks is false for a plugin without a health check. Then Error and HealthyAt are not set.
	Checks bool `json:"checks"`
	// Error is the fault, empty for a healthy plugin.
	Error string `json:"error,omitempty"`
	// CheckedAt is when the health was checked, or when rights were found missing.
	CheckedAt *metav1.Time `json:"checkedAt,omitempty"`
	// HealthyAt is when it was last healthy.
	HealthyAt *metav1.Time `json:"healthyAt,omitempty"`
	// MissingRules grant the rights that the agent lacks for the options of the step.
	MissingRules []rbacv1.PolicyRule `json:"missingRules,omitempty"`
	// MissingNamespaceRules grant those in single namespaces, by namespace.
	MissingNamespaceRules map[string][]rbacv1.PolicyRule `json:"missingNamespaceRules,omitempty"`
}

// NotificationHealth is the result of a health check of one notification's plugin. No cleanup depends on it.
type NotificationHealth struct {
	Notification string `json:"notification"`
	Plugin       string `json:"plugin"`
	// Checks, Error, CheckedAt, HealthyAt and MissingRules are as those of PluginHealth.
	Checks       bool                `json:"checks"`
	Error        string              `json:"error,omitempty"`
	CheckedAt    *metav1.Time        `json:"checkedAt,omitempty"`
	HealthyAt    *metav1.Time        `json:"healthyAt,omitempty"`
	MissingRules []rbacv1.PolicyRule `json:"missingRules,omitempty"`
}

// EncodeStatus returns the ConfigMap that holds the status, in a namespace.
func EncodeStatus(namespace string, status *AgentStatus) (*corev1.ConfigMap, error) {
	data, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("encoding the agent's status: %w", err)
	}
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace,
			Name:      StatusName,
			Labels:    map[string]string{LabelName: LabelNameValue},
		},
		Data: map[string]string{StatusKey: string(data)},
	}
	if status.AcceptedConfig != "" {
		configMap.Data[AcceptedConfigKey] = status.AcceptedConfig
	}
	return configMap, nil
}

// DecodeStatus reads the agent's status. It ignores unknown fields, because a CLI may be older
// than the agent. The status is empty if a user paused before an agent was started.
func DecodeStatus(configMap *corev1.ConfigMap) (*AgentStatus, error) {
	status := &AgentStatus{Pause: PauseOf(configMap), AcceptedConfig: configMap.Data[AcceptedConfigKey]}
	status.Brake, status.BrakeError = BrakeOf(configMap)
	if _, written := configMap.Data[StatusKey]; !written {
		return status, nil
	}
	if err := json.Unmarshal([]byte(configMap.Data[StatusKey]), status); err != nil {
		return nil, fmt.Errorf("decoding the agent's status in configmap %s/%s: %w", configMap.Namespace, configMap.Name, err)
	}
	return status, nil
}
