package api

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NewRun returns the record of a run that has not started yet.
func NewRun(node *corev1.Node, now time.Time) *Run {
	run := &Run{
		Node:                node.Name,
		NodeUID:             node.UID,
		State:               Pending,
		Host:                HostOf(node),
		DeletionRequestedAt: node.DeletionTimestamp.DeepCopy(),
		StartedAt:           metav1.NewTime(now),
	}
	run.NoteBreakGlass(node)
	return run
}

// NoteBreakGlass records whether break-glass overrode the delete guard for a terminating Node.
func (r *Run) NoteBreakGlass(node *corev1.Node) {
	if node.DeletionTimestamp == nil {
		return
	}
	// An invalid or expired break-glass did not allow the deletion.
	if glass, err := BreakGlassOf(node, node.DeletionTimestamp.Time); err == nil && glass.Active {
		r.BreakGlassReason = glass.Reason
	}
}

// Begun reports whether an attempt of a step was started.
func (r *Run) Begun() bool {
	return slices.ContainsFunc(r.Steps, func(step StepRun) bool { return step.Attempts > 0 })
}

// RequestStands reports whether the Node still has the request that the run is about.
func (r *Run) RequestStands(node metav1.Object) bool {
	return r.CleanupRequestedAt != "" && CleanupRequestOf(node) == CleanupRequest{At: r.CleanupRequestedAt, Plan: r.RequestedPlan}
}

// Mismatch returns why the run does not describe the deletion of a terminating Node, or "".
// A cleanup on request counts only if no Pod can have been scheduled to the Node since; a
// dry run did nothing.
func (r *Run) Mismatch(node *corev1.Node) string {
	switch {
	case r.DeletionRequestedAt != nil && !r.DeletionRequestedAt.Equal(node.DeletionTimestamp):
		return "it is about a deletion at another time"
	case r.DeletionRequestedAt != nil:
		return ""
	case r.CleanupRequestedAt == "":
		return "it is about neither a deletion nor a request"
	case r.State == Canceled:
		return "the cleanup on request was canceled"
	case r.DryRun:
		return "the cleanup on request was a dry run"
	case !r.RequestStands(node):
		return "the request was withdrawn or replaced"
	case r.Begun() && !node.Spec.Unschedulable:
		return "the node has been schedulable since"
	}
	return ""
}

// NextAttempt returns when the first step that waits for a retry is retried; zero if
// none waits.
func (r *Run) NextAttempt() time.Time {
	var earliest time.Time
	for _, step := range r.Steps {
		if step.State == StepRetrying && step.NextAttemptAt != nil && (earliest.IsZero() || step.NextAttemptAt.Time.Before(earliest)) {
			earliest = step.NextAttemptAt.Time
		}
	}
	return earliest
}

// Reset resets the steps that failed or wait for their next attempt, as if they had not
// failed yet.
func (r *Run) Reset() {
	for i := range r.Steps {
		step := &r.Steps[i]
		if step.State == StepFailed || step.State == StepRetrying {
			step.State, step.Failures, step.NextAttemptAt, step.StartedAt, step.FinishedAt = StepPending, 0, nil, nil, nil
		}
	}
	r.State, r.Message, r.FinishedAt = Pending, "", nil
}

// Interrupted reports whether the run ended while the step was running or waited for its next
// attempt: the cleanup was bypassed or canceled, or another client removed the Node.
func (r *Run) Interrupted(step StepRun) bool {
	return r.FinishedAt != nil && (step.State == StepRunning || step.State == StepRetrying)
}

// Stalled reports whether a cleanup in this state makes no progress by itself right now.
func (s State) Stalled() bool { return s == Blocked || s == Failed || s == Waiting }
