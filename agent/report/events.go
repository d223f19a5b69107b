package report

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// event is what an Event says. Each kind is one function below.
type event struct{ kind, reason, message string }

func cleanupStarted(run *api.Run) event {
	names := make([]string, 0, len(run.Steps))
	for _, step := range run.Steps {
		names = append(names, step.Name)
	}
	text := "Cleanup started; the node stays until it is done. Steps: " + strings.Join(names, ", ")
	if run.DryRun {
		text = "Dry run started: nothing will be done, the node goes afterwards. Steps: " + strings.Join(names, ", ")
	}
	return event{corev1.EventTypeNormal, "CleanupStarted", text}
}

func stepStarted(step *api.StepRun) event {
	text := fmt.Sprintf("Step %s (%s) started", step.Name, step.Plugin)
	if step.Attempts > 1 {
		text += fmt.Sprintf(", attempt %d", step.Attempts)
	}
	return event{corev1.EventTypeNormal, "StepStarted", text}
}

func stepSucceeded(step *api.StepRun, took time.Duration) event {
	text := fmt.Sprintf("Step %s (%s) done in %s", step.Name, step.Plugin, took.Round(time.Millisecond))
	if would := step.Would(); len(would) > 0 {
		text = fmt.Sprintf("Step %s (%s) would: %s", step.Name, step.Plugin, strings.Join(would, "; "))
	}
	return event{corev1.EventTypeNormal, "StepSucceeded", text}
}

func stepFailed(step *api.StepRun) event {
	text := fmt.Sprintf("Step %s (%s) failed, attempt %d: %s.", step.Name, step.Plugin, step.Attempts, strings.TrimSuffix(step.LastError, "."))
	switch {
	case step.State == api.StepRetrying:
		text += fmt.Sprintf(" Tried again at %s.", step.NextAttemptAt.UTC().Format(time.RFC3339))
	case step.Critical:
		text += " It is critical: the node stays."
	default:
		text += " It is not critical: the cleanup goes on without it."
	}
	return event{corev1.EventTypeWarning, "StepFailed", text}
}

func stepSkipped(step *api.StepRun) event {
	return event{corev1.EventTypeNormal, "StepSkipped", fmt.Sprintf("Step %s (%s) skipped: %s", step.Name, step.Plugin, step.Reason)}
}

func cleanupWaiting(message string) event {
	return event{corev1.EventTypeWarning, "CleanupWaiting", "Cleanup waits: " + message}
}

func cleanupCompleted(run *api.Run) event {
	text := "Cleanup done, the node is released"
	if run.DryRun {
		text = "Dry run done, nothing was cleaned up, the node is released"
	}
	return event{corev1.EventTypeNormal, "CleanupCompleted", text + ". " + askedFor(run) + stepsOf(run)}
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

func cleanupReady(run *api.Run) event {
	text := "Cleanup on request done. The node stays cordoned; delete it and it goes at once"
	if run.DryRun {
		text = "Dry run on request done, nothing was cleaned up"
	}
	return event{corev1.EventTypeNormal, "CleanupCompleted", text + ". " + askedFor(run) + stepsOf(run)}
}

func cleanupCanceled(message string) event {
	return event{corev1.EventTypeNormal, "CleanupCanceled", "Cleanup on request given up: " + message}
}

func hostChanged(message string) event {
	return event{corev1.EventTypeWarning, "HostChanged", message}
}

func cleanupFailed(node, message string) event {
	return event{corev1.EventTypeWarning, "CleanupFailed", fmt.Sprintf(
		"Cleanup failed, the node stays: %s. Mend the cause and retry (annotation %s), or let it go: kubectl nodecleanup bypass %s --reason \"…\"",
		strings.TrimSuffix(message, "."), api.AnnotationRetryRequestedAt, node)}
}

func cleanupBypassed(reason string) event {
	if reason == "" {
		reason = "none given"
	}
	return event{corev1.EventTypeWarning, "CleanupBypassed", "Cleanup bypassed, the node is released as it is. Reason: " + reason}
}

func nodeUnprotected() event {
	return event{corev1.EventTypeWarning, "NodeUnprotected",
		"The node was deleted before it had the finalizer " + api.Finalizer + ": no cleanup is run for it"}
}

func nodeInvalid(err error) event {
	return event{corev1.EventTypeWarning, "NodeInvalid",
		"The API server refuses every update of this node, so it cannot be released. Mend the node (kubectl edit node shows the fault): " + err.Error()}
}

func finalizerLost() event {
	return event{corev1.EventTypeWarning, "NodeUnprotected",
		"Somebody took the finalizer " + api.Finalizer + " off before the cleanup was done: the rest of it is not run"}
}

func cleanupDeadline(deadline time.Duration, released bool) event {
	then := "the node is held; the cleanup goes on"
	if released {
		then = "the config says Release: the node goes with what was done"
	}
	return event{corev1.EventTypeWarning, "CleanupDeadlineExceeded", fmt.Sprintf("The cleanup was not done within its deadline of %s: %s", deadline, then)}
}
