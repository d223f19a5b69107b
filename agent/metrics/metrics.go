// Package metrics has the Prometheus metrics of the agent. docs/metrics.md describes them.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Metrics holds the agent's collectors.
type Metrics struct {
	registry          *prometheus.Registry
	webhookRequests   *prometheus.CounterVec
	webhookDuration   *prometheus.HistogramVec
	operations        *prometheus.CounterVec
	operationTime     *prometheus.HistogramVec
	unprotected       prometheus.Counter
	finalizersAdded   prometheus.Counter
	leader            prometheus.Gauge
	paused            *prometheus.GaugeVec
	certificateExpiry prometheus.Gauge
	servingExpiry     prometheus.Gauge
	configReloads     *prometheus.CounterVec
	configOK          prometheus.Gauge
	configInfo        *prometheus.GaugeVec
	configLoaded      prometheus.Gauge
	retries           *prometheus.CounterVec
	pluginHealthy     *prometheus.GaugeVec
	notifications     *prometheus.CounterVec
	notifierHealthy   *prometheus.GaugeVec
}

// New returns metrics that have counted nothing.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		webhookRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "node_cleanup_webhook_requests_total",
			Help: "Admission requests by operation and result. CREATE: patched or unchanged. DELETE: allowed, refused, or error (the delete guard could not read what it needs, or answered 429). An invalid request has an empty operation and the result refused.",
		}, []string{"operation", "result"}),
		webhookDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "node_cleanup_webhook_duration_seconds",
			Help:    "Time to answer an admission request, in seconds.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .05, .25, 1, 2},
		}, []string{"operation"}),
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "node_cleanup_operations_total",
			Help: "Finished attempts of steps, and skipped steps, by plugin and result.",
		}, []string{"plugin", "result"}),
		operationTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "node_cleanup_duration_seconds",
			Help:    "Duration of one attempt of a step, in seconds.",
			Buckets: []float64{.01, .1, .5, 1, 5, 15, 60, 300, 900, 1800, 3600},
		}, []string{"plugin"}),
		unprotected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "node_cleanup_unprotected_deletions_total",
			Help: "Nodes that were deleted without the finalizer, or that lost it before their cleanup was done.",
		}),
		finalizersAdded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "node_cleanup_finalizers_backfilled_total",
			Help: "Nodes that lacked the finalizer and got it from the leader.",
		}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "node_cleanup_leader",
			Help: "1 if this agent is the leader, otherwise 0.",
		}),
		paused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "node_cleanup_paused",
			Help: "1 for each cause that keeps cleanups from starting: pause (by an operator), brake, or window (no maintenance window is open). 0 on agents that are not the leader, and until the leader has read the state.",
		}, []string{"cause"}),
		configReloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "node_cleanup_config_reloads_total",
			Help: "Changes of the config since the agent started, by result (success or error).",
		}, []string{"result"}),
		configOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "node_cleanup_config_last_reload_successful",
			Help: "1 while the newest config is active, 0 while the agent rejects it.",
		}),
		configInfo: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "node_cleanup_config_info",
			Help: "Always 1. The label hash identifies the active config.",
		}, []string{"hash"}),
		configLoaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "node_cleanup_config_last_reload_success_timestamp_seconds",
			Help: "Unix time when the active config took effect.",
		}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "node_cleanup_retries_total",
			Help: "Retries of steps: the attempts after the first one.",
		}, []string{"plugin"}),
		pluginHealthy: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "node_cleanup_plugin_healthy",
			Help: "1 if the plugin of the step passed the last health check, 0 if it failed. Absent for plugins without a health check, and on agents that are not the leader.",
		}, []string{"step", "plugin"}),
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "node_cleanup_notifications_total",
			Help: "Messages of notifications: delivered, failed for each try that failed and is repeated, or dropped if there were too many at once.",
		}, []string{"notification", "plugin", "result"}),
		notifierHealthy: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "node_cleanup_notification_healthy",
			Help: "1 if the plugin of the notification passed the last health check, 0 if it failed. Absent for plugins without a health check, and on agents that are not the leader.",
		}, []string{"notification", "plugin"}),
		certificateExpiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "node_cleanup_webhook_certificate_expiry_timestamp_seconds",
			Help: "Unix time when the CA of the webhook expires. With a certificate from files: when that certificate expires.",
		}),
		servingExpiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "node_cleanup_webhook_serving_certificate_expiry_timestamp_seconds",
			Help: "Unix time when the serving certificate of this agent expires. 0 until the agent first serves a generated certificate. A certificate from files is reported when it is loaded.",
		}),
	}
	m.registry.MustRegister(m.webhookRequests, m.webhookDuration, m.operations, m.operationTime, m.unprotected, m.finalizersAdded,
		m.leader, m.paused, m.certificateExpiry, m.servingExpiry, m.configReloads, m.configOK, m.configInfo, m.configLoaded, m.retries, m.pluginHealthy,
		m.notifications, m.notifierHealthy)
	m.CleanupsPaused(false, false, false)
	m.configOK.Set(1) // Without a good config the agent does not start.
	return m
}

// Handler serves the metrics of the agent and of client-go.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, clientGo}, promhttp.HandlerOpts{})
}

// WebhookRequest counts an admission request.
func (m *Metrics) WebhookRequest(operation, result string, took time.Duration) {
	m.webhookRequests.WithLabelValues(operation, result).Inc()
	m.webhookDuration.WithLabelValues(operation).Observe(took.Seconds())
}

// StepChanged counts the attempts of a step and the skips. It has the contract of
// executor.Observer.
func (m *Metrics) StepChanged(step *api.StepRun, took time.Duration) {
	result := "error"
	switch step.State {
	case api.StepRunning:
		if step.Attempts > 1 {
			m.retries.WithLabelValues(step.Plugin).Inc()
		}
		return
	case api.StepSkipped:
		m.operations.WithLabelValues(step.Plugin, "skipped").Inc()
		return
	case api.StepSucceeded:
		result = "success"
	}
	m.operations.WithLabelValues(step.Plugin, result).Inc()
	m.operationTime.WithLabelValues(step.Plugin).Observe(took.Seconds())
}

// NodeUnprotected counts a Node that was deleted without our finalizer, or that lost it before its cleanup
// was done.
func (m *Metrics) NodeUnprotected() { m.unprotected.Inc() }

// FinalizerAdded counts a Node that lacked our finalizer and got it from the leader.
func (m *Metrics) FinalizerAdded() { m.finalizersAdded.Inc() }

// Leading records whether this agent is the leader.
func (m *Metrics) Leading(leads bool) { m.leader.Set(oneIf(leads)) }

// CleanupsPaused records which causes keep cleanups from beginning.
func (m *Metrics) CleanupsPaused(pause, brake, window bool) {
	m.paused.WithLabelValues("pause").Set(oneIf(pause))
	m.paused.WithLabelValues("brake").Set(oneIf(brake))
	m.paused.WithLabelValues("window").Set(oneIf(window))
}

// ActiveConfig records which config is active, and since when.
func (m *Metrics) ActiveConfig(hash string, since time.Time) {
	m.configInfo.Reset()
	m.configInfo.WithLabelValues(hash).Set(1)
	m.configLoaded.Set(float64(since.Unix()))
}

// PluginHealth records the health checks of all steps. It replaces those of the call before.
func (m *Metrics) PluginHealth(plugins []api.PluginHealth) {
	m.pluginHealthy.Reset()
	for _, plugin := range plugins {
		if plugin.Checks {
			m.pluginHealthy.WithLabelValues(plugin.Step, plugin.Plugin).Set(oneIf(plugin.Error == ""))
		}
	}
}

// NotificationHealth records the health checks of all notifications. It replaces those of the call before.
func (m *Metrics) NotificationHealth(notifications []api.NotificationHealth) {
	m.notifierHealthy.Reset()
	for _, one := range notifications {
		if one.Checks {
			m.notifierHealthy.WithLabelValues(one.Notification, one.Plugin).Set(oneIf(one.Error == ""))
		}
	}
}

// NotificationDelivered counts a message that was sent.
func (m *Metrics) NotificationDelivered(notification, plugin string) {
	m.notifications.WithLabelValues(notification, plugin, "delivered").Inc()
}

// NotificationFailed counts a try to send a message that failed.
func (m *Metrics) NotificationFailed(notification, plugin string) {
	m.notifications.WithLabelValues(notification, plugin, "failed").Inc()
}

// NotificationDropped counts a message that is not sent, or not updated any more.
func (m *Metrics) NotificationDropped(notification, plugin string) {
	m.notifications.WithLabelValues(notification, plugin, "dropped").Inc()
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// ServingCertificateExpiresAt records when the serving certificate of this agent expires.
func (m *Metrics) ServingCertificateExpiresAt(end time.Time) {
	m.servingExpiry.Set(float64(end.Unix()))
}

// CertificateExpiresAt records when the CA expires, or the certificate from files.
func (m *Metrics) CertificateExpiresAt(end time.Time) { m.certificateExpiry.Set(float64(end.Unix())) }

// ConfigReloaded counts a change of the config that was accepted or refused.
func (m *Metrics) ConfigReloaded(accepted bool) {
	if accepted {
		m.configReloads.WithLabelValues("success").Inc()
		m.configOK.Set(1)
		return
	}
	m.configReloads.WithLabelValues("error").Inc()
	m.configOK.Set(0)
}
