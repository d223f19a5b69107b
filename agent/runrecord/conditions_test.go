package runrecord

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
		news := node.news(said(now))
		var got []corev1.NodeConditionType
		for _, condition := range news {
			got = append(got, condition.Type)
			node[condition.Type] = condition
		}
		if !slices.Equal(got, want) {
			t.Errorf("news %v, want %v", got, want)
		}
	}
	expect(api.ConditionCleanup)
	expect()
	run.Steps[0].State = api.StepRunning
	expect(corev1.NodeDrainInProgress)
	run.Message = "cart-0 is left"
	node[api.ConditionCleanup] = api.CleanupCondition(api.Running, "before", then)
	if news := node.news(said(now)); len(news) != 1 || news[0].LastTransitionTime != then || news[0].LastHeartbeatTime != now {
		t.Errorf("news %v", news)
	}
	run.Steps[0].State, run.State = api.StepSucceeded, api.Succeeded
	expect(corev1.NodeDrainInProgress, corev1.NodeDrained, api.ConditionCleanup)
	run.DryRun = true
	expect(corev1.NodeDrained)
}
