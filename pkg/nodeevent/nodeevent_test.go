package nodeevent

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Events are what an operator reads first; each says what happened and what follows.
func TestEventTexts(t *testing.T) {
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
	onRequest.CleanupRequestedAt, onRequest.RequestedByVerified = "2026-01-31T04:00:00Z", true
	step := func(change func(*api.StepRun)) *api.StepRun {
		s := &api.StepRun{Name: "drain", Plugin: "d", Attempts: 2, LastError: "no answer.", Reason: "not here"}
		change(s)
		return s
	}
	for _, test := range []struct {
		event Event
		want  string
	}{
		{CleanupStarted(run), "Normal CleanupStarted Cleanup started; the node is released when it is done. Steps: drain, log, storage, tell"},
		{CleanupStarted(&api.Run{DryRun: true, Steps: run.Steps}), "Normal CleanupStarted Dry run started: nothing is changed, and the node is released afterwards. Steps: drain, log, storage, tell"},
		{Step(step(func(s *api.StepRun) { s.State = api.StepRunning }), 0), "Normal StepStarted Step drain (d) started, attempt 2"},
		{Step(step(func(s *api.StepRun) { s.State = api.StepSucceeded }), 1234*time.Millisecond), "Normal StepSucceeded Step drain (d) done in 1.234s"},
		{Step(step(func(s *api.StepRun) { s.State, s.Preview = api.StepSucceeded, []string{"evict a", "evict b"} }), 0), "Normal StepSucceeded Dry run of step drain (d): evict a; evict b"},
		{Step(step(func(s *api.StepRun) { s.State, s.NextAttemptAt = api.StepRetrying, &next }), time.Second), "Warning StepFailed Step drain (d) failed, attempt 2: no answer. Next attempt at 2026-01-31T04:00:00Z."},
		{Step(step(func(s *api.StepRun) { s.State, s.Critical = api.StepFailed, true }), time.Second), "Warning StepFailed Step drain (d) failed, attempt 2: no answer. The step is critical: the node is not released."},
		{Step(step(func(s *api.StepRun) { s.State = api.StepFailed }), time.Second), "Warning StepFailed Step drain (d) failed, attempt 2: no answer. The step is not critical: the cleanup continues without it."},
		{Step(step(func(s *api.StepRun) { s.State = api.StepSkipped }), 0), "Normal StepSkipped Step drain (d) skipped: not here"},
		{CleanupCompleted(run), "Normal CleanupCompleted Cleanup done, the node is released. Steps: drain succeeded; log failed, not critical (no route); storage skipped (not here); tell would shout, whisper"},
		{CleanupCompleted(timed), "Cleanup done, the node is released. Deleted by jane (unverified). Steps: drain succeeded in 1.25s; log failed in 1.25s, not critical (no route)"},
		{CleanupReady(&onRequest), "the node stays cordoned and is released as soon as it is deleted. Requested by jane. Steps: drain succeeded in 1.25s"},
		{CleanupReady(run), "Normal CleanupCompleted Requested cleanup completed; the node stays cordoned and is released as soon as it is deleted. Steps: drain succeeded"},
		{CleanupFailed("worker", "no answer."), "no answer. Fix the cause. Unless that changes the config or a Secret of the step, run: kubectl nodecleanup retry worker. To"},
		{CleanupFailed("worker", "no answer."), `kubectl nodecleanup bypass worker --reason "…"`},
		{CleanupCompleted(&api.Run{}), "Normal CleanupCompleted Cleanup done, the node is released. No steps"},
		{BypassInvalid(errors.New("no time")), "Warning BypassInvalid The bypass is ignored: no time"},
		{CleanupRetried(&api.Run{RetryRequestedBy: "rita"}), "Normal CleanupRetried Retry requested by rita (unverified): the steps that are not done start again"},
		{CleanupBypassed(&api.Run{BypassedBy: "jane", BypassedByVerified: true, BypassReason: "fire"}), "Cleanup bypassed by jane, the node is released without its complete cleanup. Reason: fire"},
		{CleanupBypassed(&api.Run{}), "Warning CleanupBypassed Cleanup bypassed, the node is released without its complete cleanup. Reason: none given"},
		{CleanupDeadline(2*time.Hour, false), "deadline of 2h0m0s: it continues"},
		{CleanupDeadline(2*time.Hour, true), "because deadline.action is Release"},
		{NodeUnprotected(), "no cleanup runs for it"},
		{FinalizerLost(), "Another client removed the finalizer nodecleanup.io/finalizer before the cleanup was done"},
		{NodeInvalid("worker", errors.New("status.addresses[1]: Duplicate value")), "Fix the node (kubectl edit node worker --subresource=status): status.addresses[1]: Duplicate value"},
	} {
		if got := test.event.Type + " " + test.event.Reason + " " + test.event.Message; !strings.Contains(got, test.want) {
			t.Errorf("got\n  %s\nwant\n  %s", got, test.want)
		}
	}
}
