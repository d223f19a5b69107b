package report

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Events are what an operator reads first; each says what happened and what follows.
func TestEventsSayWhatHappenedAndWhatFollows(t *testing.T) {
	next := metav1.NewMicroTime(time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC))
	run := &api.Run{Node: "worker", Steps: []api.StepRun{
		{Name: "drain", State: api.StepSucceeded}, {Name: "log", State: api.StepFailed, LastError: "no route"},
		{Name: "storage", State: api.StepSkipped, Reason: "not here"}, {Name: "tell", State: api.StepSucceeded, Effects: []api.Effect{{Action: "Shout"}, {Action: "Whisper"}}},
	}}
	began, ended := metav1.NewTime(time.Unix(1e9, 0)), metav1.NewTime(time.Unix(1e9, 1.25e9))
	timed := &api.Run{Node: "worker", RequestedBy: "jane", Steps: []api.StepRun{
		{Name: "drain", State: api.StepSucceeded, StartedAt: &began, FinishedAt: &ended},
		{Name: "log", State: api.StepFailed, LastError: "no route", StartedAt: &began, FinishedAt: &ended},
	}}
	onRequest := *timed
	onRequest.CleanupRequestedAt = "2026-01-31T04:00:00Z"
	step := func(change func(*api.StepRun)) *api.StepRun {
		s := &api.StepRun{Name: "drain", Plugin: "d", Attempts: 2, LastError: "no answer.", Reason: "not here"}
		change(s)
		return s
	}
	for _, test := range []struct {
		event Event
		want  string
	}{
		{CleanupStarted(run), "Normal CleanupStarted Cleanup started; the node stays until it is done. Steps: drain, log, storage, tell"},
		{CleanupStarted(&api.Run{DryRun: true, Steps: run.Steps}), "Normal CleanupStarted Dry run started: nothing will be done, the node goes afterwards. Steps: drain, log, storage, tell"},
		{stepStarted(step(func(*api.StepRun) {})), "Normal StepStarted Step drain (d) started, attempt 2"},
		{stepSucceeded(step(func(*api.StepRun) {}), 1234*time.Millisecond), "Normal StepSucceeded Step drain (d) done in 1.234s"},
		{stepSucceeded(step(func(s *api.StepRun) { s.Preview = []string{"evict a", "evict b"} }), 0), "Normal StepSucceeded Step drain (d) would: evict a; evict b"},
		{stepFailed(step(func(s *api.StepRun) { s.State, s.NextAttemptAt = api.StepRetrying, &next })), "Warning StepFailed Step drain (d) failed, attempt 2: no answer. Tried again at 2026-01-31T04:00:00Z."},
		{stepFailed(step(func(s *api.StepRun) { s.State, s.Critical = api.StepFailed, true })), "Warning StepFailed Step drain (d) failed, attempt 2: no answer. It is critical: the node stays."},
		{stepFailed(step(func(s *api.StepRun) { s.State = api.StepFailed })), "Warning StepFailed Step drain (d) failed, attempt 2: no answer. It is not critical: the cleanup goes on without it."},
		{stepSkipped(step(func(*api.StepRun) {})), "Normal StepSkipped Step drain (d) skipped: not here"},
		{CleanupCompleted(run), "Normal CleanupCompleted Cleanup done, the node is released. Steps: drain succeeded; log failed, not critical (no route); storage skipped (not here); tell would shout, whisper"},
		{CleanupCompleted(timed), "Cleanup done, the node is released. Deleted by jane (unverified). Steps: drain succeeded in 1.25s; log failed in 1.25s, not critical (no route)"},
		{CleanupReady(&onRequest), "delete it and it goes at once. Requested by jane. Steps: drain succeeded in 1.25s"},
		{CleanupReady(run), "Normal CleanupCompleted Cleanup on request done. The node stays cordoned; delete it and it goes at once. Steps: drain succeeded"},
		{CleanupFailed("worker", "no answer."), `kubectl nodecleanup bypass worker --reason "…"`},
		{CleanupBypassed(""), "Warning CleanupBypassed Cleanup bypassed, the node is released as it is. Reason: none given"},
		{CleanupDeadline(2*time.Hour, false), "deadline of 2h0m0s: the node is held; the cleanup goes on"},
		{CleanupDeadline(2*time.Hour, true), "the config says Release"},
		{NodeUnprotected(), "no cleanup is run for it"},
		{FinalizerLost(), "Somebody took the finalizer nodecleanup.io/finalizer off before the cleanup was done"},
		{NodeInvalid(errors.New("duplicate address")), "Mend the node (kubectl edit node shows the fault): duplicate address"},
	} {
		if got := test.event.kind + " " + test.event.reason + " " + test.event.message; !strings.Contains(got, test.want) {
			t.Errorf("got\n  %s\nwant\n  %s", got, test.want)
		}
	}
}
