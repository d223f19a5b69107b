package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/preview"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/repair"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// rules are evaluated in this order: causes that stop everything come before causes that stop one
// step. A rule returns nil if it does not apply.
var rules = []func(*found, time.Time) *printer.Cause{
	released, unprotected, agentDown, rightsMissing, paused, configRefused, nodeInvalid, recordUnreadable, bypassUnreadable,
	hostReturned, secretMissing, blocked, putBack, notAllowed, budget, denied, terminating, stepRightsMissing, failing, deadline, volumes,
}

func cause(id, text string, options ...string) *printer.Cause {
	return &printer.Cause{ID: id, Text: text, Options: options}
}

func (f *found) held() bool { return api.HasFinalizer(f.node) }

// wasOurs reports whether nodecleanup held the node. The CLI, which releases a node if no agent does,
// writes a record and no condition.
func (f *found) wasOurs() bool {
	return api.CleanupConditionOf(f.node) != nil || f.run != nil && f.run.State.Released()
}

func released(f *found, _ time.Time) *printer.Cause {
	if f.held() || f.node.DeletionTimestamp == nil || !f.wasOurs() {
		return nil
	}
	return cause("other-finalizers", "nodecleanup has released the node; other finalizers block its deletion: "+strings.Join(f.node.Finalizers, ", "),
		"ask the owners of these finalizers", fmt.Sprintf("kubectl get node %s -o jsonpath='{.metadata.finalizers}'", f.name))
}

func unprotected(f *found, now time.Time) *printer.Cause {
	if f.held() || f.node.DeletionTimestamp == nil || f.wasOurs() {
		return nil
	}
	why := "without the finalizer " + api.Finalizer
	if f.selector != nil && !f.selector.Matches(labels.Set(f.node.Labels)) {
		why += " (" + f.unprotectedBecause(now) + ")"
	}
	return cause("unprotected", "the node was deleted "+why+", so there is no cleanup; other finalizers block its deletion: "+strings.Join(f.node.Finalizers, ", "),
		"ask the owners of these finalizers", "kubectl nodecleanup check")
}

func agentDown(f *found, now time.Time) *printer.Cause {
	if f.agent == nil {
		return nil
	}
	view := inspect.Assess(f.agent, version.Version, now).Agent
	logs := inspect.Logs(f.namespace, "--tail=20")
	switch {
	case view.Health == printer.Missing:
		return cause("agent-missing", "there is no agent: "+view.Problem, inspect.Reinstall(view), bypass(f))
	case view.Stopped:
		return cause("agent-down", "the agent is down: "+view.Problem, inspect.ScaleUp(f.namespace), bypass(f))
	case len(view.MissingGrants) > 0 && f.rights == nil: // Else the rule rightsMissing knows more.
		return cause("rights-missing", view.Problem, view.Remedy, bypass(f))
	case len(view.MissingGrants) > 0:
		return nil
	case view.Health == printer.Broken && view.HasLeader && view.Remedy != "":
		return cause("agent-down", "the agent is down: "+view.Problem, view.Remedy, bypass(f))
	case view.Health == printer.Broken && view.Remedy != "":
		return cause("no-leader", "no agent runs cleanups: "+view.Problem, view.Remedy, bypass(f))
	case view.Health == printer.Broken && view.HasLeader:
		return cause("agent-down", "the agent is down: "+view.Problem, logs, fmt.Sprintf("kubectl -n %s describe pods", f.namespace), bypass(f))
	case view.Health == printer.Broken:
		options := []string{logs, fmt.Sprintf("kubectl -n %s get pods", f.namespace), bypass(f)}
		if view.Outside {
			options = []string{"start the agent that runs outside the cluster again", bypass(f)}
		}
		return cause("no-leader", "no agent runs cleanups: "+view.Problem, options...)
	}
	return nil
}

// paused finds a pause of cleanups that have not begun. Running cleanups continue.
func paused(f *found, now time.Time) *printer.Cause {
	if f.agent == nil || f.run != nil && f.run.Begun() || !f.held() {
		return nil
	}
	pause := inspect.Pause(f.agent.Status, now)
	if pause == nil {
		return nil
	}
	next := "wait"
	if !pause.Ends() {
		next = inspect.Resume(pause)
	}
	line := pause.Line(now)
	if pause.Cause != printer.UnknownBrake {
		line = "no cleanup begins: " + strings.ToLower(line[:1]) + line[1:]
	}
	return cause(string(pause.Cause), line, next, bypass(f))
}

func bypass(f *found) string {
	return fmt.Sprintf("kubectl nodecleanup bypass %s --reason \"…\"", f.name)
}

func retry(f *found) string { return "kubectl nodecleanup retry " + f.name }

func configRefused(f *found, _ time.Time) *printer.Cause {
	problem := ""
	switch {
	case f.agent != nil && f.agent.ConfigFault != "":
		return nil // The agents do not start, and the rule agentDown says why.
	case f.refused != nil:
		problem = f.refused.Error()
	case f.agent != nil && f.agent.Status != nil && f.agent.Status.ConfigError != "":
		problem = f.agent.Status.ConfigError
	default:
		return nil
	}
	var status *api.AgentStatus
	if f.agent != nil {
		status = f.agent.Status
	}
	if deletion, deleted := inspect.DeletedConfig(problem); deleted && f.noConfig {
		return cause("config-refused", deletion, preview.RestoreConfig(status))
	}
	options := []string{repair.EditConfig}
	if status != nil && status.AcceptedConfig != "" {
		options = append(options, "restore the config that the agent accepted last: "+api.RestoreConfig)
	}
	return cause("config-refused", "the config is refused: "+strings.ReplaceAll(problem, "\n", "; "), options...)
}

func nodeInvalid(f *found, _ time.Time) *printer.Cause {
	if f.invalid == nil {
		return nil
	}
	return cause("node-invalid", "the API server refuses every update of this node, even the release: "+f.invalid.Error(),
		"fix what the message names: "+api.EditCommand(f.name, f.invalid))
}

// rightsMissing finds missing rights of the install: an object that does not exist, or rights that the agent
// needs with every config.
func rightsMissing(f *found, _ time.Time) *printer.Cause {
	if f.rights == nil || len(f.rights.Objects)+len(f.rights.Own) == 0 {
		return nil
	}
	return cause("rights-missing", f.rights.Fault(), f.rights.Command, bypass(f))
}

// stepRightsMissing finds missing rights that an option of a step needs, such as forceAfter. The
// step runs without them until it uses the option.
func stepRightsMissing(f *found, now time.Time) *printer.Cause {
	if f.rights == nil || len(f.rights.Lacks) == 0 || rightsMissing(f, now) != nil {
		return nil
	}
	return cause("step-rights-missing", f.rights.Fault(), f.rights.Command,
		"add to a ClusterRole of the agent: "+access.GrantsOfLacks(f.rights.Lacks).Lines())
}

func recordUnreadable(f *found, _ time.Time) *printer.Cause {
	if f.unreadable == nil {
		return nil
	}
	record := command.UndecodableOf(f.node, f.unreadable, f.absence().NoLeader)
	if !record.Paused {
		return nil
	}
	return cause("record-unreadable", record.What,
		"upgrade the agent and the CLI, if a newer version wrote the record: kubectl nodecleanup version",
		"run every step again: "+retry(f), bypass(f))
}

func bypassUnreadable(f *found, now time.Time) *printer.Cause {
	if _, err := api.BypassOf(f.node, now); err != nil {
		return cause("bypass-unreadable", "the bypass is invalid and has no effect: "+err.Error(), bypass(f))
	}
	return nil
}

func hostReturned(f *found, _ time.Time) *printer.Cause {
	if f.run == nil || f.run.State != api.Succeeded || f.node.DeletionTimestamp == nil || !f.held() {
		return nil
	}
	difference := f.run.Host.Difference(api.HostOf(f.node))
	if difference == "" {
		return nil
	}
	return cause("host-returned", "the cleanup is done, but the host rebooted or was replaced during the cleanup: "+difference,
		"stop the kubelet on the host (start it again when the node is deleted), then run: "+retry(f))
}

func secretMissing(f *found, _ time.Time) *printer.Cause {
	if len(f.missing) == 0 {
		return nil
	}
	var texts []string
	for _, missing := range f.missing {
		texts = append(texts, missing.Text())
	}
	return cause("secret-missing", strings.Join(texts, "; "), preview.CommandsOf(f.missing), bypass(f))
}

// lacksSecret reports whether a Secret of the step is missing or lacks a key.
func (f *found) lacksSecret(step string) bool {
	return slices.ContainsFunc(f.missing, func(missing *preview.MissingSecret) bool { return slices.Contains(missing.Places, "step "+step) })
}

// failing names the steps that keep failing.
func failing(f *found, now time.Time) *printer.Cause {
	if f.run == nil {
		return nil
	}
	for _, step := range f.run.Steps {
		switch {
		case step.State == api.StepRetrying && f.lacksSecret(step.Name): // The rule secretMissing names what to do.
		case step.State == api.StepRetrying && f.hasForbidden(step.Name): // And here the rule notAllowed.
		case step.State == api.StepRetrying && f.followsFromRights(step.LastError): // And here the rules about rights.
		case step.State == api.StepRetrying && f.evictableAgain(step):
			return cause("plugin-failing", fmt.Sprintf("step %s (%s) evicted no pod at attempt %d, because its options forbid the eviction of a pod. The node has no such pod now; %s", step.Name, step.Plugin, step.Attempts, f.nextAttempt(step, now)),
				"wait", retry(f), bypass(f))
		case step.State == api.StepRetrying:
			return cause("plugin-failing", fmt.Sprintf("step %s (%s) failed, attempt %d, %s; last error: %s", step.Name, step.Plugin, step.Attempts, f.nextTry(step, now), step.LastError),
				append(append(orWait(f.address(step.Name, step.LastError)), f.testOf(step)...), retry(f), bypass(f))...)
		case step.State == api.StepFailed && step.Critical:
			return cause("plugin-failed", fmt.Sprintf("step %s (%s) failed, attempt %d, and is retried only on request or if %s changes; last error: %s", step.Name, step.Plugin, step.Attempts, f.retryingChanges(step.Name), step.LastError),
				append(append(f.fixFailed(step), f.testOf(step)...), bypass(f))...)
		}
	}
	return nil
}

// deadline reports a passed deadline, from the run record or, for a Node without a record, from
// the config.
func deadline(f *found, now time.Time) *printer.Cause {
	deleted := f.node.DeletionTimestamp
	waits := deleted != nil && f.deadline.After > 0 && now.Sub(deleted.Time) > f.deadline.After
	if !waits && (f.run == nil || !f.run.DeadlinePassed) {
		return nil
	}
	const late = "the cleanup has taken longer than the config's deadline"
	switch f.deadline.Action {
	case config.Release:
		return cause("deadline", late+", whose action is to release the node, and the agent has not done so",
			inspect.Logs(f.namespace, "--tail=20"), bypass(f))
	case config.Hold:
		return cause("deadline", late+", whose action is to keep the node", bypass(f))
	}
	return cause("deadline", late, bypass(f))
}

// newer names the data that a newer version wrote.
func (f *found) newer() []string {
	if f.unreadable != nil {
		if record := command.UndecodableOf(f.node, f.unreadable, f.absence().NoLeader); !record.Paused {
			return []string{record.String()}
		}
	}
	if said := command.Newer(f.run); said != "" {
		return []string{said}
	}
	return nil
}

// remarks names the faults that do not hold this node.
func (f *found) remarks(now time.Time) []string {
	if f.agent == nil {
		return nil
	}
	admission := inspect.Assess(f.agent, version.Version, now).Admission
	switch {
	case admission.Problem == "":
		return nil
	case admission.Health == printer.Degraded:
		return []string{"the webhook for new nodes does not work, so only the policy inside the API server protects them: " + admission.Problem + " (kubectl nodecleanup check)"}
	}
	return []string{"does not block this node: " + admission.Problem + " (kubectl nodecleanup check)"}
}
