package bypass

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestBypassEndsEachStep(t *testing.T) {
	now := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	next := metav1.NewMicroTime(now.Add(time.Minute))
	run := &api.Run{Steps: []api.StepRun{
		{Name: "running", State: api.StepRunning}, {Name: "retrying", State: api.StepRetrying, NextAttemptAt: &next}, {Name: "pending", State: api.StepPending},
	}}
	r := &releaser{now: func() time.Time { return now }}
	r.close(run, &corev1.Node{})
	for _, step := range run.Steps[:2] {
		if step.State != api.StepFailed || step.NextAttemptAt != nil || step.FinishedAt == nil || !step.FinishedAt.Time.Equal(now) {
			t.Errorf("step %s is %+v", step.Name, step)
		}
	}
	if step := run.Steps[2]; step.State != api.StepPending || step.FinishedAt != nil {
		t.Errorf("the step that did not start is %+v", step)
	}
}
