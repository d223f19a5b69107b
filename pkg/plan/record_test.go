package plan

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

func planned(name, plugin string, critical bool) config.Step {
	return config.Step{Name: name, Plugin: plugin, Critical: critical, NodeSelector: labels.Everything()}
}

func TestRecordKeepsProgressAndUpdatesOptions(t *testing.T) {
	finished := metav1.Now()
	run := &api.Run{Steps: []api.StepRun{
		{Name: "done", Plugin: "x", State: api.StepSucceeded, Attempts: 1, FinishedAt: &finished},
		{Name: "never-attempted", Plugin: "x", State: api.StepSucceeded, FinishedAt: &finished},
		{Name: "replaced", Plugin: "x", State: api.StepSucceeded},
		{Name: "dropped", Plugin: "x", State: api.StepSucceeded},
		{Name: "was-skipped", Plugin: "x", State: api.StepSkipped, Reason: "no disk"},
	}}
	p := Plan{
		Waves:     [][]config.Step{{planned("done", "x", true), planned("replaced", "y", true), planned("was-skipped", "x", false), planned("never-attempted", "x", true)}, {planned("new", "x", true)}},
		Skipped:   []Skip{{Step: planned("skipped", "x", true), Reason: "not here"}},
		StepsHash: "p",
	}
	p.Record(run, "c", false)
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

func TestDryRunProgressIsDiscarded(t *testing.T) {
	run := &api.Run{DryRun: true, Steps: []api.StepRun{{Name: "drain", Plugin: "x", State: api.StepSucceeded}}}
	Plan{Waves: [][]config.Step{{planned("drain", "x", true)}}}.Record(run, "c", false)
	if run.DryRun || run.Steps[0].State != api.StepPending {
		t.Errorf("the real run begins with %+v", run)
	}
}

func TestAppliedSteps(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	steps := []api.StepRun{{Name: "a"}, {Name: "b", State: api.StepSkipped}}
	for _, test := range []struct {
		run  api.Run
		want int
	}{
		{api.Run{ConfigHash: "c", DeletionRequestedAt: &at, Steps: steps}, 1},
		{api.Run{ConfigHash: "c", Steps: steps}, 0},
		{api.Run{ConfigHash: "old", DeletionRequestedAt: &at, Steps: steps}, 0},
	} {
		if got := Applied(&test.run, "c"); len(got) != test.want {
			t.Errorf("%+v: %v", test.run, got)
		}
	}
}
