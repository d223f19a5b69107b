package api

import (
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRetryResetsOnlyFailedSteps(t *testing.T) {
	run := &Run{State: Failed, Message: "m", Steps: []StepRun{
		{Name: "done", State: StepSucceeded, Attempts: 1},
		{Name: "failed", State: StepFailed, Attempts: 6, Failures: 6},
		{Name: "waits", State: StepRetrying, Attempts: 2, Failures: 2},
	}}
	run.Reset()
	if run.State != Pending || run.Message != "" {
		t.Errorf("the run is %s, %q", run.State, run.Message)
	}
	for i, want := range []StepState{StepSucceeded, StepPending, StepPending} {
		if step := run.Steps[i]; step.State != want || step.Failures != 0 || step.Attempts == 0 {
			t.Errorf("step %s is %+v", step.Name, step)
		}
	}
}

func TestRecordNamesTheBreakGlass(t *testing.T) {
	deleted := metav1.NewTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	broken := map[string]string{AnnotationBreakGlass: "rack burns", AnnotationBreakGlassUntil: "2026-01-31T05:00:00Z"}
	expired := maps.Clone(broken)
	expired[AnnotationBreakGlassUntil] = "2026-01-31T03:00:00Z"
	for name, test := range map[string]struct {
		node  metav1.ObjectMeta
		glass string
	}{
		"broken":          {metav1.ObjectMeta{DeletionTimestamp: &deleted, Annotations: broken}, "rack burns"},
		"expired":         {metav1.ObjectMeta{DeletionTimestamp: &deleted, Annotations: expired}, ""},
		"none":            {metav1.ObjectMeta{DeletionTimestamp: &deleted}, ""},
		"not terminating": {metav1.ObjectMeta{Annotations: broken}, ""},
	} {
		run := NewRun(&corev1.Node{ObjectMeta: test.node}, deleted.Time)
		if run.BreakGlassReason != test.glass {
			t.Errorf("%s: break-glass %q", name, run.BreakGlassReason)
		}
	}
}

// started is when the Nodes of the tests were deleted.
var started = time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)

func terminating(change func(*corev1.Node)) *corev1.Node {
	at := metav1.NewTime(started)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "uid", DeletionTimestamp: &at}}
	change(node)
	return node
}

func TestMismatch(t *testing.T) {
	at, before := metav1.NewTime(started), metav1.NewTime(started.Add(-time.Hour))
	requested := terminating(func(node *corev1.Node) {
		node.Annotations = map[string]string{AnnotationCleanupRequestedAt: "now"}
		node.Spec.Unschedulable = true
	})
	schedulable := requested.DeepCopy()
	schedulable.Spec.Unschedulable = false
	begunStep := []StepRun{{Name: "drain", State: StepSucceeded, Attempts: 1}}
	for want, test := range map[string]struct {
		run  Run
		node *corev1.Node
	}{
		"":                                    {Run{DeletionRequestedAt: &at}, terminating(func(*corev1.Node) {})},
		"a deletion at another time":          {Run{DeletionRequestedAt: &before}, terminating(func(*corev1.Node) {})},
		"neither a deletion nor a request":    {Run{}, terminating(func(*corev1.Node) {})},
		"was canceled":                        {Run{CleanupRequestedAt: "now", State: Canceled}, requested},
		"was a dry run":                       {Run{CleanupRequestedAt: "now", DryRun: true}, requested},
		"withdrawn or replaced":               {Run{CleanupRequestedAt: "before"}, requested},
		"the node has been schedulable since": {Run{CleanupRequestedAt: "now", Steps: begunStep}, schedulable},
	} {
		if got := test.run.Mismatch(test.node); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := (&Run{CleanupRequestedAt: "now", Steps: begunStep}).Mismatch(requested); got != "" {
		t.Errorf("a cleanup on request does not count: %q", got)
	}
}
