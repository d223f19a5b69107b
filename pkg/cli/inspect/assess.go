package inspect

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// ScaleUp returns the command that scales up an agent with 0 replicas, however it was installed.
func ScaleUp(namespace string) string {
	return fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=2", namespace, api.Agent)
}

// Logs returns the command that prints the logs of all agents. It works with every supported
// kubectl: logs --all-pods needs version 1.31.
func Logs(namespace, rest string) string {
	return fmt.Sprintf("kubectl -n %s logs -l %s=%s --prefix %s", namespace, api.LabelName, api.LabelNameValue, rest)
}

// Resume returns how an operator ends a pause or the brake, after a look at the cause.
func Resume(pause *printer.Pause) string {
	const command = "kubectl nodecleanup resume"
	switch {
	case pause.Cause == printer.Brake:
		return "fix the cause first, such as a script that deletes nodes, then run: " + command
	case pause.By == api.UnknownUser:
		return "find out who paused and why, then run: " + command
	}
	return fmt.Sprintf("ask %s, then run: %s", pause.By, command)
}

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
	if s.ConfigFault != "" {
		view.Config = printer.Config{Health: printer.Broken, Problem: s.ConfigFault}
	}
	view.Plugins = assessPlugins(s.Status)
	view.Nodes = printer.NodeCounts{Total: s.Total, Protected: s.Protected, Unprotected: s.Total - s.Protected, Cleaning: map[string]int{}}
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
		row := CleanupRow(node, s.Runs[node.UID], s.Unreadable[node.UID])
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
	leads := s.Leadership.Leads
	address := cluster.AgentURL(s.Webhook, s.Guard)
	agent.Outside = s.Deployment == nil && (leads || address != nil)
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
	agent.Leads, agent.HelmUpgrade = leads, s.helmUpgrade()
	switch {
	case s.Deployment == nil && !agent.Outside:
		agent.Health, agent.Problem = printer.Missing, fmt.Sprintf("no deployment %s in namespace %s", api.Agent, s.Namespace)
	case !leads && s.Deployment != nil && agent.Replicas == 0:
		agent.Health, agent.Problem, agent.Stopped = printer.Broken, "scaled to 0 replicas", true
	case len(s.MissingGrants) > 0:
		agent.Health, agent.Problem, agent.MissingGrants = printer.Broken, lacksRights(s.MissingGrants), s.MissingGrants
		agent.Remedy = Reinstall(agent)
	case !leads:
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

// stallRemedy is StallRemedy with what the snapshot shows.
func stallRemedy(s *Snapshot, agent printer.Agent) string {
	switch {
	case s.Stall.Crashed && s.ConfigFault != "":
		return editConfig
	case s.Stall.Image:
		return cmp.Or(imageRemedy(s, agent), StallRemedy(s.Namespace, s.Stall))
	}
	return StallRemedy(s.Namespace, s.Stall)
}

const editConfig = "kubectl nodecleanup config edit"

// StallRemedy returns the next step if the agent's Deployment is not rolled out.
func StallRemedy(namespace string, stall *cluster.Stall) string {
	switch {
	case stall.Refused:
		return "fix what the message names: a quota, Pod Security, a policy; for security context constraints, see " + api.Documents + "install.md#openshift"
	case stall.Crashed:
		return fmt.Sprintf("kubectl -n %s logs %s --previous", namespace, stall.Pod)
	case stall.Image:
		return fmt.Sprintf("check the image, the registry and the pull secret: kubectl -n %s describe pod %s", namespace, stall.Pod)
	case stall.Pod != "":
		return fmt.Sprintf("kubectl -n %s describe pod %s", namespace, stall.Pod)
	}
	return fmt.Sprintf("kubectl -n %s describe deployment %s", namespace, api.Agent)
}

// lacksRights names the missing objects. Without them the agent may lead and do nothing.
func lacksRights(missing []string) string {
	return "the agent lacks rights: " + strings.Join(missing, ", ")
}

func noLeader(agent printer.Agent, now time.Time) string {
	if agent.Leader == "" || agent.RenewedAt == nil {
		return "no leader"
	}
	return fmt.Sprintf("no leader: %s last renewed the lease %s ago", agent.Leader, printer.Age(now.Sub(agent.RenewedAt.Time)))
}

// Reinstall returns the command that applies the manifests again, by Helm if Helm did
// before. For an agent outside the cluster it keeps that agent: without --agent-url, an install
// puts a Deployment in its place.
func Reinstall(agent printer.Agent, flags ...string) string {
	if agent.HelmUpgrade != "" {
		return agent.HelmUpgrade
	}
	arguments := []string{"kubectl nodecleanup install"}
	if agent.Outside {
		arguments = append(arguments, "--agent-url "+cmp.Or(agent.URL, "https://ADDRESS:PORT"))
	}
	arguments = append(arguments, flags...)
	if !agent.Outside {
		arguments = append(arguments, "--wait")
	}
	return strings.Join(arguments, " ")
}

// helmUpgrade returns the command that upgrades the Helm release, empty if Helm did not apply the
// objects that exist.
func (s *Snapshot) helmUpgrade() string {
	return cmp.Or(helmUpgradeOf(s.Deployment), helmUpgradeOf(s.Webhook), helmUpgradeOf(s.Policy), helmUpgradeOf(s.Guard))
}

func helmUpgradeOf[T any, P interface {
	*T
	metav1.Object
}](object P) string {
	if object == nil {
		return ""
	}
	return install.HelmUpgrade(object)
}

// assessAdmission: with the policy inside the API server new nodes are protected
// whatever becomes of the webhook.
func assessAdmission(webhook *admissionv1.MutatingWebhookConfiguration, policy *admissionv1.MutatingAdmissionPolicy, now time.Time) printer.Admission {
	admission := assessWebhook(webhook, now)
	if admission.Health != printer.Missing {
		admission.Ways = []string{"webhook"}
	}
	if policy == nil {
		return admission
	}
	admission.Ways = append([]string{"policy"}, admission.Ways...)
	switch {
	case webhook == nil:
		admission.Health, admission.Problem = printer.Healthy, "" // By choice.
	case !works(admission.Health):
		admission.Health = printer.Degraded
	}
	return admission
}

// late is what follows if the webhook does not add the finalizer.
const late = "new nodes get the finalizer only later, from the leader"

func assessWebhook(webhook *admissionv1.MutatingWebhookConfiguration, now time.Time) printer.Admission {
	if webhook == nil {
		return printer.Admission{Health: printer.Missing, Problem: fmt.Sprintf("no mutatingwebhookconfiguration %s: %s", api.WebhookName, late)}
	}
	hook := cluster.MutatingHook(webhook)
	if hook == nil {
		return printer.Admission{Health: printer.Missing, Problem: fmt.Sprintf("mutatingwebhookconfiguration %s has no webhook %s", api.WebhookName, api.WebhookHook)}
	}
	admission := printer.Admission{Health: printer.Healthy}
	if hook.FailurePolicy != nil {
		admission.FailurePolicy = string(*hook.FailurePolicy)
	}
	var problem string
	if admission.CAExpiresAt, problem = assessCA(hook.ClientConfig.CABundle, late, now); problem != "" {
		admission.Health, admission.Problem = printer.Broken, problem
	}
	return admission
}

// assessCA returns the end of the CA that a webhook trusts, and its fault.
func assessCA(bundle []byte, follows string, now time.Time) (*metav1.Time, string) {
	if len(bundle) == 0 {
		return nil, "the agent has not published its CA: " + follows
	}
	end, err := expiry(bundle)
	if err != nil {
		return nil, err.Error()
	}
	if !end.After(now) {
		return &metav1.Time{Time: end}, fmt.Sprintf("the CA expired %s ago", printer.Age(now.Sub(end)))
	}
	return &metav1.Time{Time: end}, ""
}

// assessGuard describes whether the API server calls the guard before it deletes a node.
func assessGuard(s *Snapshot, now time.Time) printer.DeleteGuard {
	const follows = "deletions are not guarded"
	switch {
	case s.GuardHidden:
		return printer.DeleteGuard{Health: printer.Unknown, Problem: "you are not allowed to see validatingwebhookconfigurations"}
	case s.Guard == nil:
		return printer.DeleteGuard{Health: printer.Missing, Problem: fmt.Sprintf("no validatingwebhookconfiguration %s: %s", api.WebhookName, follows)}
	}
	hook := cluster.GuardHook(s.Guard)
	if hook == nil {
		return printer.DeleteGuard{Health: printer.Missing, Problem: fmt.Sprintf("validatingwebhookconfiguration %s has no webhook %s: %s", api.WebhookName, api.GuardHook, follows)}
	}
	guard := printer.DeleteGuard{Health: printer.Healthy}
	if hook.FailurePolicy != nil {
		guard.FailurePolicy = string(*hook.FailurePolicy)
	}
	var problem string
	if guard.CAExpiresAt, problem = assessCA(hook.ClientConfig.CABundle, follows, now); problem != "" {
		guard.Health, guard.Problem = printer.Broken, problem
	}
	return guard
}

// assessConfig uses the leader's status. Without a leader there is none, which is reported as a
// fault of the agent.
func assessConfig(status *api.AgentStatus) printer.Config {
	config := printer.Config{Health: printer.Healthy}
	if status == nil {
		return config
	}
	config.Hash, config.Problem = status.ConfigHash, status.ConfigError
	if config.Problem != "" {
		config.Health = printer.Broken
	}
	return config
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
	plugin := printer.PluginHealth{Step: said.Step, Plugin: said.Plugin, Critical: said.Critical, Error: said.Error, CheckedAt: said.CheckedAt, HealthyAt: said.HealthyAt, MissingRules: said.MissingRules}
	if len(said.MissingRules) > 0 {
		lack := "the agent lacks rights: " + access.DescribeRules(said.MissingRules)
		plugin.Error = strings.TrimPrefix(plugin.Error+"; "+lack, "; ")
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

// expiry returns the end of the last certificate of a PEM bundle to end. During
// a rotation an old one may end while the next is in use.
func expiry(bundle []byte) (time.Time, error) {
	var last time.Time
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return last, fmt.Errorf("reading the webhook's CA: %w", err)
		}
		if certificate.NotAfter.After(last) {
			last = certificate.NotAfter
		}
	}
	if last.IsZero() {
		return last, fmt.Errorf("reading the webhook's CA: there is no certificate in it")
	}
	return last, nil
}

// next is the most important step: a fault of the whole install comes before a fault of one node.
func next(view *printer.Status, stuck int) string {
	switch {
	case view.Agent.Health == printer.Missing:
		return Reinstall(view.Agent)
	case view.Agent.Stopped:
		return ScaleUp(view.Namespace)
	case !works(view.Agent.Health) && view.Agent.Remedy != "":
		return view.Agent.Remedy
	case !works(view.Agent.Health) && view.Agent.Outside:
		return "start the agent that runs outside the cluster again (make run-local)"
	case !works(view.Agent.Health):
		return Logs(view.Namespace, "--tail=20")
	case view.Admission.Health == printer.Missing, view.Guard.Health == printer.Missing:
		return Reinstall(view.Agent)
	case view.Guard.Remedy != "":
		return view.Guard.Remedy
	case view.Admission.Remedy != "":
		return view.Admission.Remedy
	case (!works(view.Admission.Health) || view.Guard.Health.Bad()) && view.Agent.Outside:
		return "check the log of the agent, which publishes its CA when it starts"
	case !works(view.Admission.Health), view.Guard.Health.Bad():
		return Logs(view.Namespace, "--tail=-1 | grep -i certificate")
	case !works(view.Config.Health):
		return editConfig
	case stuck >= 0:
		return "kubectl nodecleanup diagnose " + view.Cleanups[stuck].Node
	case view.Pause != nil && !view.Pause.Ends():
		return Resume(view.Pause)
	case slices.ContainsFunc(view.Plugins, func(p printer.PluginHealth) bool { return p.Error != "" }):
		return "kubectl nodecleanup plugins status"
	case view.Agent.Health == printer.Degraded && view.Agent.Remedy != "":
		return view.Agent.Remedy
	case view.Agent.Health == printer.Degraded:
		return fmt.Sprintf("kubectl -n %s describe pods", view.Namespace)
	}
	return ""
}
