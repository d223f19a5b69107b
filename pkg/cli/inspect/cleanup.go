package inspect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/command"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// States of a terminating node that nodecleanup no longer holds, or never held.
const (
	released    = "Released"
	unprotected = "Unprotected"
)

// CleanupRow is the row of one node: the condition says where its cleanup stands,
// the run record which step it is at. Without an agent, both are as the last one left them.
func CleanupRow(node *corev1.Node, run *api.Run, unreadable error, absence Absence) printer.CleanupRow {
	row := printer.CleanupRow{Node: node.Name, Since: node.DeletionTimestamp}
	if node.DeletionTimestamp != nil && !api.HasFinalizer(node) {
		row.State = unprotected
		if api.CleanupConditionOf(node) != nil || run != nil && run.State.Released() {
			row.State = released
		}
		row.Reason = "other finalizers block its deletion: " + strings.Join(api.OtherFinalizers(node), ", ")
		return row
	}
	if at, err := time.Parse(time.RFC3339, node.Annotations[api.AnnotationCleanupRequestedAt]); err == nil && row.Since == nil && api.CleanupConditionOf(node) == nil {
		row.Since = &metav1.Time{Time: at}
	}
	row.State = string(api.Pending)
	if run != nil {
		// No condition can be written on a node if the API server rejects its updates.
		row.State, row.Reason = string(run.State), run.Message
	}
	if condition := api.CleanupConditionOf(node); condition != nil {
		row.State = condition.Reason
		row.Reason = condition.Message
		if row.Since == nil {
			row.Since = &condition.LastTransitionTime
		}
	}
	if run != nil && recordFirst(api.State(row.State), run.State) {
		row.State, row.Reason = string(run.State), run.Message
	}
	row.Stuck = row.State == string(api.Blocked) || row.State == string(api.Failed)
	if unreadable != nil {
		record := command.UndecodableOf(node, unreadable, absence.NoLeader)
		if !record.Paused {
			row.Reason = strings.TrimPrefix(absence.Qualify(api.State(row.State), row.Reason)+"; "+record.String(), "; ")
			return row
		}
		// No agent can continue, even if its condition does not report it yet.
		row.Stuck, row.Reason = true, record.String()
		if !record.Running {
			row.State = string(api.Blocked)
		}
		return row
	}
	if run != nil {
		if at := Current(run); at >= 0 {
			step := run.Steps[at]
			row.Step = fmt.Sprintf("%d/%d %s", at+1, len(run.Steps), step.Name)
			row.Stuck = row.Stuck || needsOperator(step) && (absence.none() || step.State != api.StepRunning)
			if row.State == string(api.Running) {
				if absence.none() {
					row.Counts = step.Counts
				}
				if step.Progress != "" {
					row.Reason = step.Progress
				}
			}
		}
	}
	row.Reason = absence.Qualify(api.State(row.State), row.Reason)
	if run == nil {
		return row
	}
	if newer := command.Newer(run); newer != "" {
		row.Reason = strings.TrimPrefix(row.Reason+"; "+newer, "; ")
	}
	return row
}

// failsOften is the number of failures after which a step is not expected to succeed by itself.
const failsOften = 3

// needsOperator reports whether a step is not expected to succeed by itself: a critical step that failed several times
// or for a missing right, a drain whose options forbid the eviction of a Pod, a drain that a budget or a broken webhook
// never allows to end, or the finalizer of a Pod beyond its grace period.
func needsOperator(step api.StepRun) bool {
	switch {
	case !step.Critical:
		return false
	case step.State == api.StepRetrying:
		return step.Failures >= failsOften || strings.Contains(step.LastError, "forbidden") || strings.Contains(step.LastError, pods.NotEvictable)
	}
	return step.State == api.StepRunning && slices.ContainsFunc([]string{pods.NeverAllows, pods.FinalizerHolds, "failed calling webhook", "forbidden"}, func(text string) bool {
		return strings.Contains(step.Progress, text)
	})
}

// recordFirst reports whether the state in the record is newer than the one in the condition:
// the agent writes the record first.
func recordFirst(condition, record api.State) bool {
	switch condition {
	case api.Running:
		return record == api.Failed || record == api.Waiting || !record.Known()
	case api.Pending, api.Preflight, api.Waiting:
		return !record.Known()
	}
	return false
}

// Current returns the index of the current step of a run: the running step, else the step that is
// retried, else the failed step that holds the node, else the next step. It is -1 when every step
// is done.
func Current(run *api.Run) int {
	for _, wanted := range []func(api.StepRun) bool{
		func(s api.StepRun) bool { return s.State == api.StepRunning },
		func(s api.StepRun) bool { return s.State == api.StepRetrying },
		func(s api.StepRun) bool { return s.State == api.StepFailed && s.Critical },
		func(s api.StepRun) bool { return !s.State.Done() },
	} {
		for i, step := range run.Steps {
			if wanted(step) {
				return i
			}
		}
	}
	return -1
}
