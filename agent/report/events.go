package report

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Event is a Kubernetes Event about a Node. Each kind is one function below.
type Event struct {
	kind, reason, message string
	// routine Events about normal progress may be buffered.
	routine bool
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

// CleanupStarted is the Event at the begin of a run.
func CleanupStarted(run *api.Run) Event {
	names := make([]string, 0, len(run.Steps))
	for _, step := range run.Steps {
		names = append(names, step.Name)
	}
	text := "Cleanup started; the node stays until it is done. Steps: " + strings.Join(names, ", ")
	if run.DryRun {
		text = "Dry run started: nothing will be done, the node goes afterwards. Steps: " + strings.Join(names, ", ")
	}
	return routine("CleanupStarted", text)
}

func stepStarted(step *api.StepRun) Event {
	text := fmt.Sprintf("Step %s (%s) started", step.Name, step.Plugin)
	if step.Attempts > 1 {
		text += fmt.Sprintf(", attempt %d", step.Attempts)
	}
	return routine("StepStarted", text)
}

func stepSucceeded(step *api.StepRun, took time.Duration) Event {
	text := fmt.Sprintf("Step %s (%s) done in %s", step.Name, step.Plugin, took.Round(time.Millisecond))
	if would := step.Would(); len(would) > 0 {
		text = fmt.Sprintf("Step %s (%s) would: %s", step.Name, step.Plugin, strings.Join(would, "; "))
	}
	return routine("StepSucceeded", text)
}

func stepFailed(step *api.StepRun) Event {
	text := fmt.Sprintf("Step %s (%s) failed, attempt %d: %s.", step.Name, step.Plugin, step.Attempts, strings.TrimSuffix(step.LastError, "."))
	switch {
	case step.State == api.StepRetrying:
		text += fmt.Sprintf(" Tried again at %s.", step.NextAttemptAt.UTC().Format(time.RFC3339))
	case step.Critical:
		text += " It is critical: the node stays."
	default:
		text += " It is not critical: the cleanup goes on without it."
	}
	return warning("StepFailed", text)
}

func stepSkipped(step *api.StepRun) Event {
	return routine("StepSkipped", fmt.Sprintf("Step %s (%s) skipped: %s", step.Name, step.Plugin, step.Reason))
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
	return normal("CleanupCompleted", text+". "+askedFor(run)+stepsOf(run))
}

// askedFor says who deleted the Node, or asked for its cleanup, if that is known.
func askedFor(run *api.Run) string {
	switch who := run.Requester(); {
	case who == "":
		return ""
	case run.CleanupRequestedAt == "":
		return "Deleted by " + who + ". "
	default:
		return "Requested by " + who + ". "
	}
}

// stepsOf tells in one line what came of the steps: for a quick cleanup it is
// the only place where Events tell it.
func stepsOf(run *api.Run) string {
	said := make([]string, 0, len(run.Steps))
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
		said = append(said, text)
	}
	return "Steps: " + strings.Join(said, "; ")
}

// CleanupReady says that a Node that is not deleted was cleaned up on request.
func CleanupReady(run *api.Run) Event {
	text := "Cleanup on request done. The node stays cordoned; delete it and it goes at once"
	if run.DryRun {
		text = "Dry run on request done, nothing was cleaned up"
	}
	return normal("CleanupCompleted", text+". "+askedFor(run)+stepsOf(run))
}

// CleanupCanceled says that a cleanup on request was canceled.
func CleanupCanceled(message string) Event {
	return normal("CleanupCanceled", "Cleanup on request given up: "+message)
}

// HostChanged says that the host rebooted or was replaced during its cleanup.
func HostChanged(message string) Event {
	return warning("HostChanged", message)
}

// CleanupFailed says that a Node stays because a critical step failed.
func CleanupFailed(node, message string) Event {
	return warning("CleanupFailed", fmt.Sprintf(
		"Cleanup failed, the node stays: %s. Mend the cause and retry (annotation %s), or let it go: kubectl nodecleanup bypass %s --reason \"…\"",
		strings.TrimSuffix(message, "."), api.AnnotationRetryRequestedAt, node))
}

// CleanupBypassed says that a Node is released without its cleanup.
func CleanupBypassed(reason string) Event {
	if reason == "" {
		reason = "none given"
	}
	return warning("CleanupBypassed", "Cleanup bypassed, the node is released as it is. Reason: "+reason)
}

// NodeUnprotected says that a Node was deleted without our finalizer.
func NodeUnprotected() Event {
	return warning("NodeUnprotected",
		"The node was deleted before it had the finalizer "+api.Finalizer+": no cleanup is run for it")
}

// NodeInvalid says that the API server rejects every update of a Node.
func NodeInvalid(err error) Event {
	return warning("NodeInvalid",
		"The API server refuses every update of this node, so it cannot be released. Mend the node (kubectl edit node shows the fault): "+err.Error())
}

// FinalizerLost says that somebody removed our finalizer too early.
func FinalizerLost() Event {
	return warning("NodeUnprotected",
		"Somebody took the finalizer "+api.Finalizer+" off before the cleanup was done: the rest of it is not run")
}

// CleanupDeadline says that a cleanup exceeded the configured deadline.
func CleanupDeadline(deadline time.Duration, released bool) Event {
	then := "the node is held; the cleanup goes on"
	if released {
		then = "the config says Release: the node goes with what was done"
	}
	return warning("CleanupDeadlineExceeded", fmt.Sprintf("The cleanup was not done within its deadline of %s: %s", deadline, then))
}
