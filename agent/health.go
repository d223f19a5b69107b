package agent

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/configwatch"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// healthEvery is how often every plugin is asked how it is, without being asked to.
const healthEvery = time.Minute

// health asks the plugins of every step how they are, and tells it in the
// status and in metrics: before a Node is deleted is the time to find out.
type health struct {
	client    kubernetes.Interface
	namespace string
	config    func() *config.Config
	executor  *executor.Executor
	report    *status
	metrics   *metrics.Metrics
	clock     clock.WithTicker
	log       *slog.Logger
	// due is told when something changed that a check may depend on.
	due chan struct{}
}

func newHealth(client kubernetes.Interface, options Options, executor *executor.Executor, report *status, metrics *metrics.Metrics, clock clock.WithTicker) *health {
	return &health{
		client: client, namespace: options.Namespace, executor: executor, report: report, metrics: metrics, clock: clock, log: options.Log,
		due: make(chan struct{}, 1),
	}
}

// again has the plugins checked soon.
func (h *health) again() {
	select {
	case h.due <- struct{}{}:
	default: // One check is due already.
	}
}

// run checks now, every minute, when again is called, and when somebody asks for
// it by an annotation on the status, until ctx ends.
func (h *health) run(ctx context.Context) error {
	// What this agent found is stale once another one asks the plugins.
	defer h.metrics.PluginHealth(nil)
	requests := make(chan string, 1)
	go func() {
		err := configwatch.Follow(ctx, h.client, h.namespace, api.StatusName, func(configMap *corev1.ConfigMap) {
			select {
			case <-requests: // Only the newest request is answered.
			default:
			}
			requests <- configMap.Annotations[api.AnnotationPreflightRequestedAt]
		})
		if err != nil {
			h.log.Error("requests for a health check are not seen", "err", err)
		}
	}()
	ticker := h.clock.NewTicker(healthEvery)
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
				continue // It is our own writing that was seen.
			}
			answered = request
		}
		h.check(ctx, answered)
	}
}

// check asks every plugin, and writes down what they say as the answer to a request.
func (h *health) check(ctx context.Context, request string) {
	answers := h.executor.CheckHealth(ctx, h.config().Steps)
	if ctx.Err() != nil {
		return
	}
	now := metav1.NewTime(h.clock.Now())
	h.report.change(ctx, func(says *api.AgentStatus) {
		said := make([]api.PluginHealth, 0, len(answers))
		for _, answer := range answers {
			said = append(said, h.judge(answer, says.Plugins, now))
		}
		says.Plugins = said
		if request != "" {
			says.PreflightRequestedAt = request
		}
		h.metrics.PluginHealth(said)
	})
}

// judge turns an answer into what is told; when a plugin was last well is known
// from what was told before.
func (h *health) judge(answer executor.Health, before []api.PluginHealth, now metav1.Time) api.PluginHealth {
	says := api.PluginHealth{Step: answer.Step.Name, Plugin: answer.Step.Plugin, Critical: answer.Step.Critical, Checks: answer.Checks}
	if !answer.Checks {
		return says
	}
	says.CheckedAt = &now
	wasWell := true
	for _, known := range before {
		if known.Step == says.Step && known.Plugin == says.Plugin {
			says.HealthyAt, wasWell = known.HealthyAt, known.Error == ""
		}
	}
	switch {
	case answer.Err == nil:
		says.HealthyAt = &now
		if !wasWell {
			h.log.Info("plugin is healthy again", "step", says.Step, "plugin", says.Plugin)
		}
	default:
		says.Error = answer.Err.Error()
		if wasWell {
			h.log.Warn("plugin is not healthy", "step", says.Step, "plugin", says.Plugin, "critical", says.Critical, "err", answer.Err)
		}
	}
	return says
}
