package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/repair"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/install"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// next is the most important step: a fault of the whole install comes before a fault of one node.
func next(view *printer.Status, stuck int) string {
	switch {
	case !works(view.Agent.Health):
		return RepairAgent(view.Agent, view.Namespace)
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
		return view.Config.Remedy
	case stuck >= 0:
		return "kubectl nodecleanup diagnose " + view.Cleanups[stuck].Node
	case view.Pause != nil && !view.Pause.Ends():
		return Resume(view.Pause)
	case slices.ContainsFunc(view.Plugins, func(p printer.PluginHealth) bool { return p.Error != "" }),
		slices.ContainsFunc(view.Notifications, func(n printer.NotificationHealth) bool { return n.Error != "" }):
		return "kubectl nodecleanup check" // It names the repair of each.
	case view.Agent.Health == printer.Degraded && view.Agent.Remedy != "":
		return view.Agent.Remedy
	case view.Agent.Health == printer.Degraded:
		return fmt.Sprintf("kubectl -n %s describe pods", view.Namespace)
	}
	return ""
}

// RepairAgent returns the next step if the agent does not work.
func RepairAgent(agent printer.Agent, namespace string) string {
	switch {
	case agent.Health == printer.Missing:
		return Reinstall(agent)
	case agent.Stopped:
		return ScaleUp(namespace)
	case agent.Remedy != "":
		return agent.Remedy
	case agent.Outside:
		return "start the agent that runs outside the cluster again (make run-local)"
	}
	return Logs(namespace, "--tail=20")
}

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
	case pause.Cause == printer.UnknownBrake:
		return "the leader writes the state again within seconds; if no agent is the leader, replace it: " + command
	case pause.By == api.UnknownUser:
		return "find out who paused and why, then run: " + command
	}
	return fmt.Sprintf("ask %s, then run: %s", pause.By, command)
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

// stallRemedy is StallRemedy with what the snapshot shows.
func stallRemedy(s *Snapshot, agent printer.Agent) string {
	switch {
	case s.configChanged:
		return fmt.Sprintf("the agent's Pods start again by themselves, or delete them: kubectl -n %s delete pod -l %s=%s", s.Namespace, api.LabelName, api.LabelNameValue)
	case s.Stall.Crashed && s.NoConfig:
		return preview.RestoreConfig(s.Status)
	case s.Stall.Crashed && s.ConfigFault != "":
		return repair.EditConfig
	case s.taintRemedy != "":
		return s.taintRemedy
	case s.Stall.Image:
		return cmp.Or(imageRemedy(s, agent), StallRemedy(s.Namespace, s.Stall))
	}
	return StallRemedy(s.Namespace, s.Stall)
}

// StallRemedy returns the next step if the agent's Deployment is not rolled out.
func StallRemedy(namespace string, stall *cluster.Stall) string {
	switch {
	case stall.Refused:
		return "fix what the message names: a quota, Pod Security, a policy; for security context constraints, see " + api.Documents + "install.md#openshift"
	case stall.Crashed:
		return fmt.Sprintf("kubectl -n %s logs %s --previous", namespace, stall.Pod)
	case stall.NeverPulled:
		return fmt.Sprintf("load the image into the pod's node, or set imagePullPolicy to IfNotPresent: kubectl -n %s edit deployment %s", namespace, api.Agent)
	case stall.Image:
		return fmt.Sprintf("check the image, the registry and the pull secret: kubectl -n %s describe pod %s", namespace, stall.Pod)
	case stall.Pod != "":
		return fmt.Sprintf("kubectl -n %s describe pod %s", namespace, stall.Pod)
	}
	return fmt.Sprintf("kubectl -n %s describe deployment %s", namespace, api.Agent)
}
