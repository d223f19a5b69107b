package runstore

import (
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plan"
)

func step(name, plugin string, critical bool) config.Step {
	return config.Step{Name: name, Plugin: plugin, Critical: critical, NodeSelector: labels.Everything()}
}

func TestMergeKeepsWhatStepsWentThroughAndTakesTheRestFromThePlan(t *testing.T) {
	finished := metav1.Now()
	run := &api.Run{Steps: []api.StepRun{
		{Name: "done", Plugin: "x", State: api.StepSucceeded, Attempts: 1, FinishedAt: &finished},
		{Name: "never-attempted", Plugin: "x", State: api.StepSucceeded, FinishedAt: &finished},
		{Name: "replaced", Plugin: "x", State: api.StepSucceeded},
		{Name: "dropped", Plugin: "x", State: api.StepSucceeded},
		{Name: "was-skipped", Plugin: "x", State: api.StepSkipped, Reason: "no disk"},
	}}
	p := plan.Plan{
		Waves:   [][]config.Step{{step("done", "x", true), step("replaced", "y", true), step("was-skipped", "x", false), step("never-attempted", "x", true)}, {step("new", "x", true)}},
		Skipped: []plan.Skip{{Step: step("skipped", "x", true), Reason: "not here"}},
		Hash:    "p",
	}
	Merge(run, "c", false, p)
	want := []api.StepRun{
		{Name: "done", Plugin: "x", Critical: true, State: api.StepSucceeded, Attempts: 1},
		{Name: "replaced", Plugin: "y", Critical: true, State: api.StepPending},
		{Name: "was-skipped", Plugin: "x", State: api.StepPending},
		{Name: "never-attempted", Plugin: "x", Critical: true, State: api.StepPending},
		{Name: "new", Plugin: "x", Critical: true, State: api.StepPending},
		{Name: "skipped", Plugin: "x", Critical: true, State: api.StepPending},
	}
	if len(run.Steps) != len(want) {
		t.Fatalf("steps are %+v", run.Steps)
	}
	for i := range want {
		if got := run.Steps[i]; got.Name != want[i].Name || got.Plugin != want[i].Plugin || got.Critical != want[i].Critical || got.State != want[i].State || got.Attempts != want[i].Attempts || got.Reason != want[i].Reason {
			t.Errorf("step %d is %+v, want %+v", i, got, want[i])
		}
	}
	if run.ConfigHash != "c" || run.PlanHash != "p" {
		t.Errorf("hashes are %s, %s", run.ConfigHash, run.PlanHash)
	}
}

func TestWhatADryRunWentThroughCountsForNothing(t *testing.T) {
	run := &api.Run{DryRun: true, Steps: []api.StepRun{{Name: "drain", Plugin: "x", State: api.StepSucceeded}}}
	Merge(run, "c", false, plan.Plan{Waves: [][]config.Step{{step("drain", "x", true)}}})
	if run.DryRun || run.Steps[0].State != api.StepPending {
		t.Errorf("the real run begins with %+v", run)
	}
}

func TestRetryGivesOnlyFailedStepsANewStart(t *testing.T) {
	run := &api.Run{State: api.Failed, Message: "m", Steps: []api.StepRun{
		{Name: "done", State: api.StepSucceeded, Attempts: 1},
		{Name: "failed", State: api.StepFailed, Attempts: 6, Failures: 6},
		{Name: "waits", State: api.StepRetrying, Attempts: 2, Failures: 2},
	}}
	Retry(run)
	if run.State != api.Pending || run.Message != "" {
		t.Errorf("the run is %s, %q", run.State, run.Message)
	}
	for i, want := range []api.StepState{api.StepSucceeded, api.StepPending, api.StepPending} {
		if step := run.Steps[i]; step.State != want || step.Failures != 0 || step.Attempts == 0 {
			t.Errorf("step %s is %+v", step.Name, step)
		}
	}
}

func TestARecordSaysThatBreakGlassWasUsed(t *testing.T) {
	deleted := metav1.NewTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	broken := map[string]string{api.AnnotationBreakGlass: "rack burns", api.AnnotationBreakGlassUntil: "2026-01-31T05:00:00Z"}
	expired := maps.Clone(broken)
	expired[api.AnnotationBreakGlassUntil] = "2026-01-31T03:00:00Z"
	for name, test := range map[string]struct {
		node  metav1.ObjectMeta
		glass string
	}{
		"broken":          {metav1.ObjectMeta{DeletionTimestamp: &deleted, Annotations: broken}, "rack burns"},
		"expired":         {metav1.ObjectMeta{DeletionTimestamp: &deleted, Annotations: expired}, ""},
		"none":            {metav1.ObjectMeta{DeletionTimestamp: &deleted}, ""},
		"not terminating": {metav1.ObjectMeta{Annotations: broken}, ""},
	} {
		run := Begin(&corev1.Node{ObjectMeta: test.node}, deleted.Time)
		if run.BreakGlassReason != test.glass {
			t.Errorf("%s: break-glass %q", name, run.BreakGlassReason)
		}
	}
}
