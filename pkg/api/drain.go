package api

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DrainPlugin is the name of the plugin that moves the pods away.
const DrainPlugin = "drain"

// ReasonCleanupDrain is the reason of the Kubernetes conditions DrainInProgress and Drained if
// nodecleanup set them. Other clients may set these conditions too.
const ReasonCleanupDrain = "NodeCleanup"

// DrainConditions returns Kubernetes' own conditions about the drain of a Node, as a run
// leaves them. Both are False where nothing is drained: before, in a dry run, and when the
// drain failed or was given up.
func DrainConditions(run *Run, now metav1.Time) []corev1.NodeCondition {
	var steps, going, done int
	for _, step := range run.Steps {
		if step.Plugin != DrainPlugin || step.State == StepSkipped || run.DryRun || run.State == Canceled {
			continue
		}
		steps++
		switch step.State {
		case StepRunning, StepRetrying:
			if run.State != Failed && run.State != Bypassed { // Both end it in the middle.
				going++
			}
		case StepSucceeded:
			done++
		}
	}
	return []corev1.NodeCondition{
		drainCondition(corev1.NodeDrainInProgress, going > 0, "the node's cleanup is evicting its pods", now),
		drainCondition(corev1.NodeDrained, steps > 0 && done == steps, "the node's cleanup has evicted its pods", now),
	}
}

// Drained reports whether the run has drained its Node.
func (r *Run) Drained() bool {
	return !r.DryRun && slices.ContainsFunc(r.Steps, func(step StepRun) bool {
		return step.Plugin == DrainPlugin && step.State == StepSucceeded
	})
}

func drainCondition(kind corev1.NodeConditionType, is bool, message string, now metav1.Time) corev1.NodeCondition {
	condition := corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: ReasonCleanupDrain, LastTransitionTime: now, LastHeartbeatTime: now}
	if is {
		condition.Status, condition.Message = corev1.ConditionTrue, message
	}
	return condition
}

// OwnConditions returns the Node's conditions that a cleanup has set.
func OwnConditions(node *corev1.Node) []corev1.NodeCondition {
	return slices.DeleteFunc(slices.Clone(node.Status.Conditions), func(condition corev1.NodeCondition) bool {
		switch condition.Type {
		case ConditionCleanup:
			return false
		case corev1.NodeDrainInProgress, corev1.NodeDrained:
			return condition.Reason != ReasonCleanupDrain
		}
		return true
	})
}
