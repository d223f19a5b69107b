package follow

import (
	"errors"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func node(deleted bool, finalizers ...string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u", Finalizers: finalizers}}
	if deleted {
		node.DeletionTimestamp = &metav1.Time{}
	}
	return node
}

func TestSettled(t *testing.T) {
	for name, test := range map[string]struct {
		now  Snapshot
		done bool
		code int
	}{
		"deleted, cleaned up":                                {Snapshot{Run: &api.Run{State: api.Succeeded}}, true, exit.OK},
		"deleted in a dry run":                               {Snapshot{Run: &api.Run{State: api.Succeeded, DryRun: true}}, true, exit.Failure},
		"a live node in a dry run":                           {Snapshot{Node: node(false, api.Finalizer), Run: &api.Run{State: api.Succeeded, DryRun: true}}, false, exit.Failure},
		"deleted without a record":                           {Snapshot{}, true, exit.Failure},
		"deleted by a bypass":                                {Snapshot{Run: &api.Run{State: api.Bypassed, BypassReason: "hardware lost"}}, true, exit.Failure},
		"deleted during the run":                             {Snapshot{Run: &api.Run{State: api.Running, Steps: []api.StepRun{{Name: "drain", State: api.StepRunning}}}}, true, exit.Failure},
		"deleted after a cancellation":                       {Snapshot{Run: &api.Run{State: api.Canceled}}, true, exit.Failure},
		"no record yet":                                      {Snapshot{Node: node(false)}, false, exit.OK},
		"record of another request":                          {Snapshot{Node: node(false), Run: &api.Run{State: api.Failed, PlanHash: "old"}}, false, exit.OK},
		"running":                                            {Snapshot{Node: node(false), Run: &api.Run{State: api.Running}}, false, exit.OK},
		"waits for its next attempt":                         {Snapshot{Node: node(false), Run: &api.Run{State: api.Waiting}}, false, exit.OK},
		"a live node is cleaned up":                          {Snapshot{Node: node(false, api.Finalizer), Run: &api.Run{State: api.Succeeded}}, true, exit.OK},
		"terminating node is held":                           {Snapshot{Node: node(true, api.Finalizer), Run: &api.Run{State: api.Succeeded}}, false, exit.OK},
		"terminating node is released":                       {Snapshot{Node: node(true, "example.com/theirs"), Run: &api.Run{State: api.Succeeded}}, true, exit.OK},
		"terminating node is bypassed":                       {Snapshot{Node: node(true, "example.com/theirs"), Run: &api.Run{State: api.Bypassed}}, false, exit.Failure},
		"failed":                                             {Snapshot{Node: node(true, api.Finalizer), Run: &api.Run{State: api.Failed}}, false, exit.Unhealthy},
		"record reports the end before the deletion":         {Snapshot{Node: node(true, api.Finalizer), Run: &api.Run{State: api.Failed, FinishedAt: &metav1.Time{}}}, true, exit.Failure},
		"finalizer removed by hand, other finalizers remain": {Snapshot{Node: node(true, "example.com/theirs"), Run: &api.Run{State: api.Failed, FinishedAt: &metav1.Time{}}}, false, exit.Unhealthy},
		"blocked":  {Snapshot{Node: node(true, api.Finalizer), Run: &api.Run{State: api.Blocked}}, false, exit.Blocked},
		"canceled": {Snapshot{Node: node(false), Run: &api.Run{State: api.Canceled}}, false, exit.Failure},
	} {
		t.Run(name, func(t *testing.T) {
			done, err := Settled(test.now, "n", func(run *api.Run) bool { return run.PlanHash != "old" })
			if code := exit.Code(t.Context(), err); done != test.done || code != test.code {
				t.Errorf("done %v, exit code %d, want %v and %d", done, code, test.done, test.code)
			}
			var chosen *exit.Error
			if err != nil && (!errors.As(err, &chosen) || chosen.Next == "") {
				t.Errorf("%v does not say what to do next", err)
			}
		})
	}
}

func TestEachChangeIsPrintedOnce(t *testing.T) {
	var lines []string
	follower := Follower{Say: func(line string) { lines = append(lines, line) }}
	said := map[string]string{}
	run := &api.Run{State: api.Running, Steps: []api.StepRun{{Name: "drain", State: api.StepRunning, Progress: "2 pods remaining"}, {Name: "tell", State: api.StepPending}}}
	for range 2 {
		follower.report(Snapshot{Node: node(true, api.Finalizer), Run: run}, said)
	}
	run.Steps[0] = api.StepRun{Name: "drain", State: api.StepSucceeded}
	run.Steps[1] = api.StepRun{Name: "tell", State: api.StepSkipped, Reason: "not for this node"}
	follower.report(Snapshot{Node: node(true, "example.com/theirs"), Run: run}, said)
	follower.report(Snapshot{Run: run}, said)
	want := []string{
		"1/2 drain: 2 pods remaining", "1/2 drain: done", "2/2 tell: skipped: not for this node",
		"released; other finalizers block the deletion: example.com/theirs", "the node is deleted",
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got %q", lines)
	}
}

// On a terminal a step that counts has a bar, and its progress no lines.
func TestCountedStepHasABar(t *testing.T) {
	var lines, bars []string
	now := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	follower := Follower{Say: func(line string) { lines = append(lines, line) }, Bar: func(text string) { bars = append(bars, text) }, Now: func() time.Time { return now }}
	said := map[string]string{}
	run := &api.Run{State: api.Running, Steps: []api.StepRun{{Name: "drain", State: api.StepRunning, Progress: "waiting for 1 pod", Counts: &api.Counts{Done: 1, Total: 2}}, {Name: "tell", State: api.StepPending}}}
	follower.report(Snapshot{Node: node(true, api.Finalizer), Run: run}, said)
	run.Steps[0] = api.StepRun{Name: "drain", State: api.StepSucceeded}
	follower.report(Snapshot{Node: node(true, api.Finalizer), Run: run}, said)
	if want := []string{"1/2 drain █████░░░░░ 1/2; waiting for 1 pod", ""}; !reflect.DeepEqual(bars, want) {
		t.Errorf("the bars are %q, want %q", bars, want)
	}
	if want := []string{"1/2 drain: done"}; !reflect.DeepEqual(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
}
