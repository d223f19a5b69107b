package api

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestUnchangedConditionIsNotWritten(t *testing.T) {
	then, now := metav1.NewTime(time.Unix(1e9, 0)), metav1.NewTime(time.Unix(2e9, 0))
	run := &Run{State: Running, Message: "drain", Steps: []StepRun{{Name: "drain", Plugin: DrainPlugin, State: StepPending}}}
	said := func(at metav1.Time) []corev1.NodeCondition {
		return append(DrainConditions(run, at), CleanupCondition(run.State, run.Message, at))
	}
	node := KnownConditions{}
	expect := func(want ...corev1.NodeConditionType) {
		t.Helper()
		changes := node.Changes(said(now))
		var got []corev1.NodeConditionType
		for _, condition := range changes {
			got = append(got, condition.Type)
			node[condition.Type] = condition
		}
		if !slices.Equal(got, want) {
			t.Errorf("changes %v, want %v", got, want)
		}
	}
	expect(ConditionCleanup)
	expect()
	run.Steps[0].State = StepRunning
	expect(corev1.NodeDrainInProgress)
	run.Message = "cart-0 is left"
	node[ConditionCleanup] = CleanupCondition(Running, "before", then)
	if changes := node.Changes(said(now)); len(changes) != 1 || changes[0].LastTransitionTime != then || changes[0].LastHeartbeatTime != now {
		t.Errorf("changes %v", changes)
	}
	run.Steps[0].State, run.State = StepSucceeded, Succeeded
	expect(corev1.NodeDrainInProgress, corev1.NodeDrained, ConditionCleanup)
	run.DryRun = true
	expect(corev1.NodeDrained)
}

func TestDrainConditions(t *testing.T) {
	for _, test := range []struct {
		state             State
		steps             []StepState
		progress, drained bool
	}{
		{Running, []StepState{StepRunning}, true, false},
		{Running, []StepState{StepSucceeded, StepRunning}, true, false},
		{Running, []StepState{StepSucceeded, StepSkipped}, false, true},
		{Running, []StepState{StepSkipped}, false, false},
		{Bypassed, []StepState{StepRunning}, false, false},
		{Failed, []StepState{StepRetrying}, false, false},
		{Blocked, []StepState{StepSucceeded}, false, true},
		{Canceled, []StepState{StepSucceeded}, false, false},
	} {
		run := &Run{State: test.state}
		for _, state := range test.steps {
			run.Steps = append(run.Steps, StepRun{Plugin: DrainPlugin, State: state})
		}
		said := DrainConditions(run, metav1.Now())
		if progress, drained := said[0].Status == corev1.ConditionTrue, said[1].Status == corev1.ConditionTrue; progress != test.progress || drained != test.drained {
			t.Errorf("%s %v: in progress %v, drained %v", test.state, test.steps, progress, drained)
		}
	}
}
