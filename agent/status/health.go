package status

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/configwatch"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/executor"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// healthEvery is how often every plugin is asked how it is, without being asked to.
const healthEvery = time.Minute

// Metrics shows the health of the plugins.
type Metrics interface {
	// PluginHealth replaces what is known of all plugins.
	PluginHealth([]api.PluginHealth)
}

// HealthOptions are the dependencies of a HealthChecker. All are required.
type HealthOptions struct {
	// Config returns the active config.
	Config    func() *config.Config
	Executor  *executor.Executor
	Publisher *Publisher
	Metrics   Metrics
	Clock     clock.WithTicker
	Log       *slog.Logger
}

// HealthChecker asks the plugins of every step how they are, and tells it in the
// status and in metrics: before a Node is deleted is the time to find out.
type HealthChecker struct {
	HealthOptions
	// due is told when something changed that a check may depend on.
	due chan struct{}
}

// NewHealthChecker returns a HealthChecker that has checked nothing.
func NewHealthChecker(options HealthOptions) *HealthChecker {
	return &HealthChecker{HealthOptions: options, due: make(chan struct{}, 1)}
}

// Trigger has the plugins checked soon.
func (h *HealthChecker) Trigger() {
	select {
	case h.due <- struct{}{}:
	default: // One check is due already.
	}
}

// Run checks now, every minute, when Trigger is called, and when somebody asks for
// it by an annotation on the status, until ctx ends.
func (h *HealthChecker) Run(ctx context.Context) error {
	// What this agent found is stale once another one asks the plugins.
	defer h.Metrics.PluginHealth(nil)
	requests := make(chan string, 1)
	go func() {
		err := configwatch.Follow(ctx, h.Publisher.Client, h.Publisher.Namespace, api.StatusName, func(configMap *corev1.ConfigMap) {
			select {
			case <-requests: // Only the newest request is answered.
			default:
			}
			requests <- configMap.Annotations[api.AnnotationPreflightRequestedAt]
		})
		if err != nil {
			h.Log.Error("requests for a health check are not seen", "err", err)
		}
	}()
	ticker := h.Clock.NewTicker(healthEvery)
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
func (h *HealthChecker) check(ctx context.Context, request string) {
	answers := h.Executor.CheckHealth(ctx, h.Config().Steps)
	if ctx.Err() != nil {
		return
	}
	now := metav1.NewTime(h.Clock.Now())
	h.Publisher.change(ctx, func(says *api.AgentStatus) {
		said := make([]api.PluginHealth, 0, len(answers))
		for _, answer := range answers {
			said = append(said, h.judge(answer, says.Plugins, now))
		}
		says.Plugins = said
		if request != "" {
			says.PreflightRequestedAt = request
		}
		h.Metrics.PluginHealth(said)
	})
}

// judge turns an answer into what is told; when a plugin was last well is known
// from what was told before.
func (h *HealthChecker) judge(answer executor.Health, before []api.PluginHealth, now metav1.Time) api.PluginHealth {
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
			h.Log.Info("plugin is healthy again", "step", says.Step, "plugin", says.Plugin)
		}
	default:
		says.Error = answer.Err.Error()
		if wasWell {
			h.Log.Warn("plugin is not healthy", "step", says.Step, "plugin", says.Plugin, "critical", says.Critical, "err", answer.Err)
		}
	}
	return says
}
