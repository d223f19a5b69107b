package status

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/configwatch"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// checkPeriod is the time between two health checks without a cause.
const checkPeriod = time.Minute

// Metrics shows the health of the plugins.
type Metrics interface {
	// PluginHealth replaces what is known of all plugins.
	PluginHealth([]api.PluginHealth)
	// NotificationHealth does so for notifications.
	NotificationHealth([]api.NotificationHealth)
}

// HealthOptions are the dependencies of a HealthChecker. All are required.
type HealthOptions struct {
	// Config returns the active config.
	Config    func() *config.Config
	Executor  *executor.Executor
	Publisher *Publisher
	// Undelivered returns why the newest message of a notification was not delivered, nil if it was.
	Undelivered func(notification string) error
	Metrics     Metrics
	Clock       clock.WithTicker
	Log         *slog.Logger
}

// HealthChecker checks the health of the plugins of every step and notification, and publishes it in the
// status and in metrics: an operator learns of a fault before a Node is deleted.
type HealthChecker struct {
	HealthOptions
	// due has an element when a check is requested.
	due chan struct{}
}

// NewHealthChecker returns a HealthChecker that has checked nothing.
func NewHealthChecker(options HealthOptions) *HealthChecker {
	return &HealthChecker{HealthOptions: options, due: make(chan struct{}, 1)}
}

// Trigger requests a check, because something changed that the health may depend on.
func (h *HealthChecker) Trigger() {
	select {
	case h.due <- struct{}{}:
	default: // A check is scheduled already.
	}
}

// Run checks the plugins until ctx ends: at once, every minute, on Trigger, and when a user
// requests it by an annotation on the status.
func (h *HealthChecker) Run(ctx context.Context) error {
	// The results of this agent are stale when another agent checks the plugins.
	defer h.Metrics.NotificationHealth(nil)
	defer h.Metrics.PluginHealth(nil)
	requests := make(chan string, 1)
	go func() {
		client, namespace := h.Publisher.Client, h.Publisher.Namespace
		err := configwatch.Follow(ctx, client, namespace, api.StatusName, func(configMap *corev1.ConfigMap) {
			select {
			case <-requests: // Only the newest request is answered.
			default:
			}
			requests <- configMap.Annotations[api.AnnotationPreflightRequestedAt]
		})
		if err != nil {
			h.Log.Error("watching for preflight requests failed; this leader does not answer kubectl nodecleanup preflight", "err", err)
		}
	}()
	ticker := h.Clock.NewTicker(checkPeriod)
	defer ticker.Stop()
	answered := ""
	h.check(ctx, answered)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		case <-h.due:
		case request := <-requests:
			if request == "" || request == answered {
				continue // This agent wrote the status.
			}
			answered = request
		}
		h.check(ctx, answered)
	}
}

// check checks every plugin, and publishes the result as the answer to a request.
func (h *HealthChecker) check(ctx context.Context, request string) {
	settings := h.Config()
	results := h.Executor.CheckHealth(ctx, settings.Steps)
	notifications := h.Executor.CheckNotifications(ctx, settings.Notifications)
	missing := h.missingRules(ctx, settings)
	if ctx.Err() != nil {
		return
	}
	now := metav1.NewTime(h.Clock.Now())
	h.Publisher.update(ctx, func(status *api.AgentStatus) {
		plugins := make([]api.PluginHealth, 0, len(results))
		for _, result := range results {
			health := h.assess(result, status.Plugins, now)
			lacks := missing[access.Lack{Step: health.Step}.Place()]
			if !lacks.Empty() {
				health.CheckedAt = &now // Also for a plugin without a health check.
			}
			for namespace, rules := range lacks {
				if namespace == "" {
					health.MissingRules = rules
					continue
				}
				if health.MissingNamespaceRules == nil {
					health.MissingNamespaceRules = map[string][]rbacv1.PolicyRule{}
				}
				health.MissingNamespaceRules[namespace] = rules
			}
			plugins = append(plugins, health)
		}
		status.Plugins = plugins
		status.Notifications = h.assessNotifications(notifications, status.Notifications, now)
		for i := range status.Notifications {
			one := &status.Notifications[i]
			if one.MissingRules = missing[access.Lack{Notification: one.Notification}.Place()][""]; len(one.MissingRules) > 0 {
				one.CheckedAt = &now
			}
		}
		if request != "" {
			status.PreflightRequestedAt = request
		}
		h.Metrics.PluginHealth(plugins)
		h.Metrics.NotificationHealth(status.Notifications)
	})
}

// missingRules returns the rules that the agent lacks, by the place in the config.
func (h *HealthChecker) missingRules(ctx context.Context, settings *config.Config) map[string]access.Grants {
	lacks, err := access.MissingOfPlugins(ctx, settings.Steps, settings.Notifications, access.Self(h.Publisher.Client))
	if err != nil && ctx.Err() == nil {
		h.Log.Warn("cannot check the rights that the plugins need", "err", err)
	}
	missing := map[string]access.Grants{}
	for _, lack := range lacks {
		missing[lack.Place()] = access.GrantsOf(lack.Missing)
	}
	return missing
}

// assess returns the health of one plugin. The last time at which it was healthy comes from the
// previous results.
func (h *HealthChecker) assess(result executor.Health, previous []api.PluginHealth, now metav1.Time) api.PluginHealth {
	health := api.PluginHealth{Step: result.Step.Name, Plugin: result.Step.Plugin, Critical: result.Step.Critical, Checks: result.Checks}
	if !result.Checks {
		return health
	}
	health.CheckedAt = &now
	wasHealthy := true
	for _, known := range previous {
		if known.Step == health.Step && known.Plugin == health.Plugin {
			health.HealthyAt, wasHealthy = known.HealthyAt, known.Error == ""
		}
	}
	h.logChange(result.Err, wasHealthy, "step", health.Step, "plugin", health.Plugin, "critical", health.Critical)
	if result.Err != nil {
		health.Error = result.Err.Error()
	} else {
		health.HealthyAt = &now
	}
	return health
}

// assessNotifications is like assess for notifications.
func (h *HealthChecker) assessNotifications(results []executor.NotificationHealth, previous []api.NotificationHealth, now metav1.Time) []api.NotificationHealth {
	var all []api.NotificationHealth
	for _, result := range results {
		// A receiver can pass the health check, and refuse every message.
		if err := h.Undelivered(result.Notification.Name); err != nil && result.Err == nil {
			result.Checks, result.Err = true, err
		}
		health := api.NotificationHealth{Notification: result.Notification.Name, Plugin: result.Notification.Plugin, Checks: result.Checks}
		if result.Checks {
			health.CheckedAt = &now
			wasHealthy := true
			for _, known := range previous {
				if known.Notification == health.Notification && known.Plugin == health.Plugin {
					health.HealthyAt, wasHealthy = known.HealthyAt, known.Error == ""
				}
			}
			h.logChange(result.Err, wasHealthy, "notification", health.Notification, "plugin", health.Plugin)
			if result.Err != nil {
				health.Error = result.Err.Error()
			} else {
				health.HealthyAt = &now
			}
		}
		all = append(all, health)
	}
	return all
}

// logChange logs that a plugin became healthy or unhealthy.
func (h *HealthChecker) logChange(err error, wasHealthy bool, of ...any) {
	switch {
	case err != nil && wasHealthy:
		h.Log.Warn("plugin is not healthy", append(of, "err", err)...)
	case err == nil && !wasHealthy:
		h.Log.Info("plugin is healthy again", of...)
	}
}
