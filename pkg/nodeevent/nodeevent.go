// Package nodeevent holds the Kubernetes Events about the cleanup of a Node: what each one
// says follows from its arguments alone.
package nodeevent

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Event is a Kubernetes Event about a Node. Each kind is one function below.
type Event struct {
	// Type is "Normal" or "Warning".
	Type, Reason, Message string
	// Routine Events about normal progress may be delayed or left out.
	Routine bool
}

func routine(reason, message string) Event {
	return Event{corev1.EventTypeNormal, reason, message, true}
}

func normal(reason, message string) Event {
	return Event{corev1.EventTypeNormal, reason, message, false}
}

func warning(reason, message string) Event {
	return Event{corev1.EventTypeWarning, reason, message, false}
}

// CleanupStarted is the Event at the start of a run.
func CleanupStarted(run *api.Run) Event {
	names := make([]string, 0, len(run.Steps))
	for _, step := range run.Steps {
		names = append(names, step.Name)
	}
	text := "Cleanup started; the node is released when it is done"
	if run.DryRun {
		text = "Dry run started: nothing is changed, and the node is released afterwards"
	}
	return routine("CleanupStarted", text+". "+steps(names, ", "))
}

// Step is the Event about a step that changed its state; took is the duration of the attempt
// that ended, 0 if none did.
func Step(step *api.StepRun, took time.Duration) Event {
	text := fmt.Sprintf("Step %s (%s) ", step.Name, step.Plugin)
	switch step.State {
	case api.StepSkipped:
		return routine("StepSkipped", text+"skipped: "+step.Reason)
	case api.StepSucceeded:
		if would := step.Would(); len(would) > 0 {
			return routine("StepSucceeded", fmt.Sprintf("Dry run of step %s (%s): ", step.Name, step.Plugin)+strings.Join(would, "; "))
		}
		return routine("StepSucceeded", text+"done in "+took.Round(time.Millisecond).String())
	case api.StepRetrying:
		return warning("StepFailed", text+failure(step)+" Next attempt at "+step.NextAttemptAt.UTC().Format(time.RFC3339)+".")
	case api.StepFailed:
		if step.Critical {
			return warning("StepFailed", text+failure(step)+" The step is critical: the node is not released.")
		}
		return warning("StepFailed", text+failure(step)+" The step is not critical: the cleanup continues without it.")
	}
	text += "started"
	if step.Attempts > 1 {
		text += fmt.Sprintf(", attempt %d", step.Attempts)
	}
	return routine("StepStarted", text)
}

func failure(step *api.StepRun) string {
	return fmt.Sprintf("failed, attempt %d: %s.", step.Attempts, strings.TrimSuffix(step.LastError, "."))
}

// CleanupWaiting says what a cleanup waits for.
func CleanupWaiting(message string) Event {
	return warning("CleanupWaiting", "Cleanup waits: "+message)
}

// CleanupCompleted says that a Node is released after its cleanup.
func CleanupCompleted(run *api.Run) Event {
	text := "Cleanup done, the node is released"
	if run.DryRun {
		text = "Dry run done, nothing was cleaned up, the node is released"
	}
	return normal("CleanupCompleted", text+". "+requestedBy(run)+stepsOf(run))
}

// requestedBy says who deleted the Node, or asked for its cleanup, if that is known.
func requestedBy(run *api.Run) string {
	switch who := run.Requester(); {
	case who == "":
		return ""
	case run.CleanupRequestedAt == "":
		return "Deleted by " + who + ". "
	default:
		return "Requested by " + who + ". "
	}
}

// stepsOf lists the results of the steps in one line: for a quick cleanup no other Event
// has them.
func stepsOf(run *api.Run) string {
	results := make([]string, 0, len(run.Steps))
	for _, step := range run.Steps {
		text := step.Name + " " + strings.ToLower(string(step.State))
		if step.StartedAt != nil && step.FinishedAt != nil {
			text += " in " + step.FinishedAt.Sub(step.StartedAt.Time).Round(time.Millisecond).String()
		}
		switch {
		case step.State == api.StepSkipped:
			text += " (" + step.Reason + ")"
		case step.State == api.StepFailed:
			text += ", not critical (" + step.LastError + ")"
		case len(step.Would()) > 0:
			text = step.Name + " would " + strings.Join(step.Would(), ", ")
		}
		results = append(results, text)
	}
	return steps(results, "; ")
}

func steps(texts []string, separator string) string {
	if len(texts) == 0 {
		return "No steps"
	}
	return "Steps: " + strings.Join(texts, separator)
}

// CleanupReady says that a Node that is not deleted was cleaned up on request.
func CleanupReady(run *api.Run) Event {
	text := "Requested cleanup completed; the node stays cordoned and is released as soon as it is deleted"
	if run.DryRun {
		text = "Requested dry run completed; nothing was changed"
	}
	return normal("CleanupCompleted", text+". "+requestedBy(run)+stepsOf(run))
}

// CleanupCanceled says that a cleanup on request was canceled.
func CleanupCanceled(message string) Event {
	return normal("CleanupCanceled", "Requested cleanup canceled: "+message)
}

// CleanupRefused says that a cleanup does not run, because its plan is not the one that was requested.
func CleanupRefused(message string) Event {
	return warning("CleanupRefused", "Cleanup refused: "+message)
}

// HostChanged says that the host rebooted or was replaced during its cleanup.
func HostChanged(message string) Event {
	return warning("HostChanged", message)
}

// CleanupFailed says that a Node is not released because a critical step failed.
func CleanupFailed(node, message string) Event {
	return warning("CleanupFailed", fmt.Sprintf(
		"Cleanup failed, the node is not released: %s. Fix the cause. Unless that changes the config or a Secret of the step, run: kubectl nodecleanup retry %s. To release the node without its cleanup: kubectl nodecleanup bypass %s --reason \"…\"",
		strings.TrimSuffix(message, "."), node, node))
}

// CleanupBypassedWithoutAgent says that the CLI releases a Node without its cleanup. Undone names the
// steps that are not done.
func CleanupBypassedWithoutAgent(run *api.Run, undone string) Event {
	bypassed := CleanupBypassed(run)
	bypassed.Message += fmt.Sprintf(". No agent is the leader, so the CLI releases the node; %s", undone)
	return bypassed
}

// CleanupRetried says that an operator requested a retry.
func CleanupRetried(run *api.Run) Event {
	text := "Retry requested"
	if who := run.Retrier(); who != "" {
		text += " by " + who
	}
	return normal("CleanupRetried", text+": the steps that are not done start again")
}

// BypassInvalid says that the annotations of a bypass are ignored.
func BypassInvalid(err error) Event {
	return warning("BypassInvalid", "The bypass is ignored: "+err.Error())
}

// CleanupBypassed says that a Node is released without its cleanup.
func CleanupBypassed(run *api.Run) Event {
	text, reason := "Cleanup bypassed", run.BypassReason
	if who := run.Bypasser(); who != "" {
		text += " by " + who
	}
	if reason == "" {
		reason = "none given"
	}
	return warning("CleanupBypassed", text+", the node is released without its complete cleanup. Reason: "+reason)
}

// NodeUnprotected says that a Node was deleted without our finalizer.
func NodeUnprotected() Event {
	return warning("NodeUnprotected",
		"The node was deleted before it had the finalizer "+api.Finalizer+": no cleanup runs for it")
}

// NodeRemoved says that a Node does not exist whose run record is unfinished.
func NodeRemoved() Event {
	return warning("NodeUnprotected",
		"The node no longer exists and its cleanup was not completed: the remaining steps did not run")
}

// NodeInvalid says that the API server rejects every update of a Node.
func NodeInvalid(node string, err error) Event {
	return warning("NodeInvalid",
		"The API server rejects every update of this node, so it cannot be released. Fix the node ("+api.EditCommand(node, err)+"): "+err.Error())
}

// FinalizerLost says that another client removed our finalizer before the cleanup was done.
func FinalizerLost() Event {
	return warning("NodeUnprotected",
		"Another client removed the finalizer "+api.Finalizer+" before the cleanup was done: the remaining steps do not run")
}

// CleanupDeadline says that a cleanup exceeded the configured deadline.
func CleanupDeadline(deadline time.Duration, released bool) Event {
	then := "it continues, and the node is not released before it is done"
	if released {
		then = "the node is released without its remaining steps, because deadline.action is Release"
	}
	return warning("CleanupDeadlineExceeded", fmt.Sprintf("The cleanup exceeded its deadline of %s: %s", deadline, then))
}
