package api

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConditionCleanup is the type of the Node condition that reports the state of a cleanup. Its
// status is True when nodecleanup no longer holds the Node, and False until then.
const ConditionCleanup corev1.NodeConditionType = "nodecleanup.io/Cleanup"

// NotStarted begins the message of a Blocked cleanup whose critical steps are unhealthy. The steps follow it,
// each as "step NAME (PLUGIN): fault", separated by "; ".
const NotStarted = "not started, a critical step is unhealthy: "

// AwaitsRecord begins the message of a Blocked cleanup whose run record the agent cannot read. The error follows it.
const AwaitsRecord = "the cleanup is paused until the API server returns the run record: "

// CheckAgainAfter is the time between two health checks of a Blocked cleanup.
const CheckAgainAfter = 30 * time.Second

// State of a cleanup: the reason of ConditionCleanup and the state of a run record.
type State string

// The states of a cleanup.
const (
	// Pending means that the deletion was observed and that no step has begun.
	Pending State = "Pending"
	// Preflight: the health of the plugins in the plan is being checked.
	Preflight State = "Preflight"
	// Running: steps are running.
	Running State = "Running"
	// Waiting: a step failed and will be tried again at a known time.
	Waiting State = "Waiting"
	// Blocked: something outside must change before the cleanup can begin.
	Blocked State = "Blocked"
	// Failed: a critical step used up its tries; the Node is kept until an operator acts.
	Failed State = "Failed"
	// Bypassed means that an operator released the Node without cleanup.
	Bypassed State = "Bypassed"
	// Canceled: a cleanup of a Node that is not deleted was given up. A deletion
	// starts again.
	Canceled State = "Canceled"
	// Succeeded: every critical step is done.
	Succeeded State = "Succeeded"
)

// Released reports whether a cleanup in this state no longer holds the Node.
func (s State) Released() bool { return s == Succeeded || s == Bypassed }

// CleanupCondition returns the condition for a state at a time. The message is
// read by a person: plain words, no secrets.
func CleanupCondition(state State, message string, now metav1.Time) corev1.NodeCondition {
	status := corev1.ConditionFalse
	if state.Released() {
		status = corev1.ConditionTrue
	}
	return corev1.NodeCondition{
		Type:               ConditionCleanup,
		Status:             status,
		Reason:             string(state),
		Message:            message,
		LastTransitionTime: now,
		LastHeartbeatTime:  now,
	}
}

// CleanupConditionOf returns the Node's cleanup condition, or nil if it has none.
func CleanupConditionOf(node *corev1.Node) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == ConditionCleanup {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// KnownConditions are the conditions that a Node is known to have, by type.
type KnownConditions map[corev1.NodeConditionType]corev1.NodeCondition

// Changes returns the wanted conditions that differ from the known ones. DrainInProgress and
// Drained are set to False only if a cleanup had set them to True. If another component set them,
// they are preserved.
func (c KnownConditions) Changes(wanted []corev1.NodeCondition) []corev1.NodeCondition {
	var changes []corev1.NodeCondition
	for _, condition := range wanted {
		known, exists := c[condition.Type]
		switch {
		case exists && known.Status == condition.Status && known.Reason == condition.Reason && known.Message == condition.Message:
			continue
		case condition.Type == ConditionCleanup:
		case !exists && condition.Status == corev1.ConditionFalse, exists && known.Reason != ReasonCleanupDrain:
			continue
		}
		if exists && known.Status == condition.Status {
			condition.LastTransitionTime = known.LastTransitionTime
		}
		changes = append(changes, condition)
	}
	return changes
}
