package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/repair"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Assess turns the snapshot into the view, and adds the next step.
func Assess(s *Snapshot, cliVersion string, now time.Time) *printer.Status {
	view := printer.NewStatus(now)
	view.Namespace = s.Namespace
	view.Pause = Pause(s.Status, now)
	view.Agent = assessAgent(s, now)
	view.Agent.CLIVersion = cliVersion
	view.Admission = assessAdmission(s.Webhook, s.Policy, now)
	view.Guard = assessGuard(s, now)
	assessAnswer(view, s)
	view.Config = assessConfig(s.Status)
	if s.configChanged && !s.Leadership.HasLeader { // What the last leader has rejected or accepted is not this config.
		view.Config = printer.Config{Health: printer.Healthy}
	}
	if s.ConfigFault != "" {
		view.Config = printer.Config{Health: printer.Broken, Problem: s.ConfigFault, Missing: s.NoConfig, Remedy: repair.EditConfig}
		if s.NoConfig {
			view.Config.Remedy = preview.RestoreConfig(s.Status)
		}
	}
	view.Plugins, view.Notifications = assessPlugins(s.Status), assessNotifications(s.Status)
	if cause := access.Lacking(strings.Join(s.MissingGrants, ", ")); len(s.MissingGrants) > 0 {
		for i := range view.Plugins {
			if strings.HasPrefix(view.Plugins[i].Error, access.Lacking("")) {
				view.Plugins[i].Error, view.Plugins[i].HealthyAt = cause, nil
			}
		}
	}
	view.Nodes = nodeCounts(s)
	for _, node := range s.Marked {
		bypass := Bypass(node, now)
		if bypass == nil {
			continue
		}
		view.Bypasses = append(view.Bypasses, *bypass)
		if api.HasFinalizer(node) {
			view.Nodes.Protected--
			view.Nodes.Bypassed++
		}
	}
	slices.SortFunc(view.Bypasses, func(a, b printer.Bypass) int { return cmp.Compare(a.Node, b.Node) })
	for _, node := range s.Leaving {
		row := CleanupRow(node, s.Runs[node.UID], s.Unreadable[node.UID], s.Absence())
		if s.Recovered(s.Runs[node.UID]) {
			row.Stuck, row.Reason = false, RecoveredReason
		}
		if api.HasFinalizer(node) {
			view.Nodes.Cleaning[row.State]++
		}
		view.Cleanups = append(view.Cleanups, row)
	}
	markUnattended(view)
	slices.SortFunc(view.Cleanups, func(a, b printer.CleanupRow) int {
		if a.Stuck != b.Stuck {
			if a.Stuck {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Node, b.Node)
	})
	stuck := slices.IndexFunc(view.Cleanups, func(c printer.CleanupRow) bool { return c.Stuck })
	view.Healthy = works(view.Agent.Health) && works(view.Admission.Health) && !view.Guard.Health.Bad() && works(view.Config.Health) && stuck < 0 && (view.Pause == nil || view.Pause.Ends())
	for _, plugin := range view.Plugins {
		view.Healthy = view.Healthy && (plugin.Error == "" || !plugin.Critical)
	}
	view.Next = next(view, stuck)
	return view
}

// nodeCounts counts the nodes that the config does not select on their own: they need no finalizer.
func nodeCounts(s *Snapshot) printer.NodeCounts {
	counts := printer.NodeCounts{Total: s.Total, Protected: s.Protected, Unprotected: s.Total - s.Protected, Cleaning: map[string]int{}}
	if s.Selector == nil {
		return counts
	}
	for _, labels := range s.Lacking {
		if !s.Selector.Matches(labels) {
			counts.Excluded++
			counts.Unprotected--
		}
	}
	return counts
}

// Pause returns why no cleanup begins, nil while cleanups may begin.
func Pause(status *api.AgentStatus, now time.Time) *printer.Pause {
	if status == nil {
		return nil
	}
	pause, brake := status.Pause, status.Brake
	switch {
	case pause.Paused:
		view := &printer.Pause{Cause: printer.Paused, By: pause.Who(), Reason: pause.Reason}
		if !pause.At.IsZero() {
			view.Since = &metav1.Time{Time: pause.At}
		}
		return view
	case status.BrakeError != nil:
		return &printer.Pause{Cause: printer.UnknownBrake, Reason: status.BrakeError.Error()}
	case brake.Engaged(pause):
		return &printer.Pause{Cause: printer.Brake, Since: brake.Since, Reason: brake.Reason}
	case brake.WindowOpensAt != nil && brake.WindowOpensAt.After(now): // Else no agent has updated it.
		return &printer.Pause{Cause: printer.Window, Until: brake.WindowOpensAt}
	}
	return nil
}

func works(health printer.Health) bool {
	return health == printer.Healthy || health == printer.Degraded
}

func assessAgent(s *Snapshot, now time.Time) printer.Agent {
	agent := printer.Agent{Health: printer.Healthy}
	if s.Status != nil {
		agent.Version, agent.DryRun = s.Status.Version, s.Status.DryRun
	}
	if lease := s.Leadership.Lease; lease != nil {
		if lease.Spec.HolderIdentity != nil {
			agent.Leader = *lease.Spec.HolderIdentity
		}
		if lease.Spec.RenewTime != nil {
			agent.RenewedAt = &metav1.Time{Time: lease.Spec.RenewTime.Time}
		}
	}
	hasLeader := s.Leadership.HasLeader
	address := cluster.AgentURL(s.Webhook, s.Guard)
	agent.Outside = s.Deployment == nil && (hasLeader || address != nil)
	if agent.Outside && address != nil { // In the form of install --agent-url.
		agent.URL = address.Scheme + "://" + address.Host
	}
	if s.Deployment != nil {
		agent.Ready = s.Deployment.Status.ReadyReplicas
		agent.Replicas = 1 // the API server's default
		if s.Deployment.Spec.Replicas != nil {
			agent.Replicas = *s.Deployment.Spec.Replicas
		}
	}
	agent.HasLeader, agent.HelmUpgrade = hasLeader, s.helmUpgrade()
	switch {
	case s.Deployment == nil && !agent.Outside:
		agent.Health, agent.Problem = printer.Missing, fmt.Sprintf("no deployment %s in namespace %s", api.Agent, s.Namespace)
	case !hasLeader && s.Deployment != nil && agent.Replicas == 0:
		agent.Health, agent.Problem, agent.Stopped = printer.Broken, "scaled to 0 replicas", true
	case len(s.MissingGrants) > 0:
		agent.Health, agent.Problem, agent.MissingGrants = printer.Broken, access.Lacking(strings.Join(s.MissingGrants, ", ")), s.MissingGrants
		agent.Remedy = regrant(s.grants, agent)
	case !hasLeader:
		agent.Health, agent.Problem = printer.Broken, noLeader(agent, now)
	case s.Deployment != nil && agent.Ready == 0:
		agent.Health, agent.Problem = printer.Broken, "no pod is ready"
	case agent.Ready < agent.Replicas || s.Stall != nil:
		agent.Health = printer.Degraded
	}
	if s.Stall != nil {
		agent.Problem = strings.TrimPrefix(agent.Problem+"; "+s.Stall.Text, "; ")
		agent.Remedy = cmp.Or(agent.Remedy, stallRemedy(s, agent))
	}
	return agent
}

func noLeader(agent printer.Agent, now time.Time) string {
	if agent.Leader == "" || agent.RenewedAt == nil {
		return "no leader"
	}
	return fmt.Sprintf("no leader: %s last renewed the lease %s ago", agent.Leader, printer.Age(now.Sub(agent.RenewedAt.Time)))
}

// assessConfig uses the leader's status. Without a leader there is none, which is reported as a
// fault of the agent.
func assessConfig(status *api.AgentStatus) printer.Config {
	config := printer.Config{Health: printer.Healthy}
	if status == nil {
		return config
	}
	config.Hash, config.Problem = status.ConfigHash, status.ConfigError
	if config.Problem == "" {
		return config
	}
	config.Health, config.Remedy = printer.Broken, repair.EditConfig
	config.Problem, config.Missing = DeletedConfig(config.Problem)
	if config.Missing || strings.HasSuffix(config.Problem, api.ConfigHasNoKey) { // There is nothing to edit.
		config.Remedy = preview.RestoreConfig(status)
	}
	return config
}

// DeletedConfig reports whether the agent rejected its config because the ConfigMap was deleted. Then it returns the
// problem without the next step that the agent has added: what it is depends on the status.
func DeletedConfig(problem string) (string, bool) {
	before, _, deleted := strings.Cut(problem, api.ConfigDeleted)
	if !deleted {
		return problem, false
	}
	return before + api.ConfigDeleted, true
}

// assessPlugins takes the leader's word on the plugin of each step.
func assessPlugins(status *api.AgentStatus) []printer.PluginHealth {
	if status == nil {
		return nil
	}
	var plugins []printer.PluginHealth
	for _, said := range status.Plugins {
		plugins = append(plugins, Plugin(said))
	}
	return plugins
}

// Plugin turns the reported health of a step's plugin into a view.
func Plugin(said api.PluginHealth) printer.PluginHealth {
	plugin := printer.PluginHealth{Step: said.Step, Plugin: said.Plugin, Critical: said.Critical, Error: said.Error, CheckedAt: said.CheckedAt, HealthyAt: said.HealthyAt, MissingRules: said.MissingRules, MissingNamespaceRules: said.MissingNamespaceRules}
	if missing := access.Reported(said.MissingRules, said.MissingNamespaceRules); !missing.Empty() {
		lack := access.Lacking(missing.Describe())
		if plugin.Error == "" || access.SaysLacking(plugin.Error) { // The check failed for one of these rights.
			plugin.Error = lack
		} else {
			plugin.Error += "; " + lack
		}
	}
	switch {
	case plugin.Error != "":
		plugin.Health = printer.Broken
	case !said.Checks:
		plugin.Health = printer.Unknown
	default:
		plugin.Health = printer.Healthy
	}
	return plugin
}

// assessNotifications is like assessPlugins for notifications.
func assessNotifications(status *api.AgentStatus) []printer.NotificationHealth {
	if status == nil {
		return nil
	}
	var notifications []printer.NotificationHealth
	for _, said := range status.Notifications {
		notifications = append(notifications, Notification(said))
	}
	return notifications
}

// Notification is like Plugin for a notification.
func Notification(said api.NotificationHealth) printer.NotificationHealth {
	plugin := Plugin(api.PluginHealth{Checks: said.Checks, Error: said.Error, MissingRules: said.MissingRules})
	return printer.NotificationHealth{
		Notification: said.Notification, Plugin: said.Plugin, Health: plugin.Health, Error: plugin.Error,
		CheckedAt: said.CheckedAt, HealthyAt: said.HealthyAt, MissingRules: said.MissingRules,
	}
}
