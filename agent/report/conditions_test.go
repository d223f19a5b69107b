package report

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestOnlyNewsIsWritten(t *testing.T) {
	then, now := metav1.NewTime(time.Unix(1e9, 0)), metav1.NewTime(time.Unix(2e9, 0))
	run := &api.Run{State: api.Running, Message: "drain", Steps: []api.StepRun{{Name: "drain", Plugin: api.DrainPlugin, State: api.StepPending}}}
	said := func(at metav1.Time) []corev1.NodeCondition {
		return append(api.DrainConditions(run, at), api.CleanupCondition(run.State, run.Message, at))
	}
	node := conditions{}
	expect := func(want ...corev1.NodeConditionType) {
		t.Helper()
		changes := node.changes(said(now))
		var got []corev1.NodeConditionType
		for _, condition := range changes {
			got = append(got, condition.Type)
			node[condition.Type] = condition
		}
		if !slices.Equal(got, want) {
			t.Errorf("changes %v, want %v", got, want)
		}
	}
	expect(api.ConditionCleanup)
	expect()
	run.Steps[0].State = api.StepRunning
	expect(corev1.NodeDrainInProgress)
	run.Message = "cart-0 is left"
	node[api.ConditionCleanup] = api.CleanupCondition(api.Running, "before", then)
	if changes := node.changes(said(now)); len(changes) != 1 || changes[0].LastTransitionTime != then || changes[0].LastHeartbeatTime != now {
		t.Errorf("changes %v", changes)
	}
	run.Steps[0].State, run.State = api.StepSucceeded, api.Succeeded
	expect(corev1.NodeDrainInProgress, corev1.NodeDrained, api.ConditionCleanup)
	run.DryRun = true
	expect(corev1.NodeDrained)
}

func TestWhatNoLongerDrainsIsNoDrainInProgress(t *testing.T) {
	for _, test := range []struct {
		state             api.State
		steps             []api.StepState
		progress, drained bool
	}{
		{api.Running, []api.StepState{api.StepRunning}, true, false},
		{api.Running, []api.StepState{api.StepSucceeded, api.StepRunning}, true, false},
		{api.Running, []api.StepState{api.StepSucceeded, api.StepSkipped}, false, true},
		{api.Running, []api.StepState{api.StepSkipped}, false, false},
		{api.Bypassed, []api.StepState{api.StepRunning}, false, false},
		{api.Failed, []api.StepState{api.StepRetrying}, false, false},
		{api.Blocked, []api.StepState{api.StepSucceeded}, false, true},
		{api.Canceled, []api.StepState{api.StepSucceeded}, false, false},
	} {
		run := &api.Run{State: test.state}
		for _, state := range test.steps {
			run.Steps = append(run.Steps, api.StepRun{Plugin: api.DrainPlugin, State: state})
		}
		said := api.DrainConditions(run, metav1.Now())
		if progress, drained := said[0].Status == corev1.ConditionTrue, said[1].Status == corev1.ConditionTrue; progress != test.progress || drained != test.drained {
			t.Errorf("%s %v: in progress %v, drained %v", test.state, test.steps, progress, drained)
		}
	}
}
