package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// forge stores a run record for a terminating Node, as a user with the right to write ConfigMaps
// could if no policy protected them.
func (f *fixture) forge(node *corev1.Node, change func(run *api.Run)) {
	f.Helper()
	at := metav1.NewTime(f.read(node).DeletionTimestamp.Add(time.Second))
	run := &api.Run{
		Node: node.Name, NodeUID: node.UID, ConfigHash: "c", PlanHash: "p", State: api.Succeeded,
		DeletionRequestedAt: f.read(node).DeletionTimestamp, StartedAt: at, FinishedAt: &at,
		Steps: []api.StepRun{{Name: "storage", Plugin: "probe", Critical: true, State: api.StepSucceeded, Attempts: 1, StartedAt: &at, FinishedAt: &at}},
	}
	change(run)
	f.store(run)
}

// store writes a run record in place of the stored one, if there is one.
func (f *fixture) store(run *api.Run) {
	f.Helper()
	configMap, err := api.EncodeRun(f.namespace, run)
	if err != nil {
		f.Fatal(err)
	}
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	if _, err = configMaps.Create(f.Context(), configMap, metav1.CreateOptions{}); err != nil {
		_, err = configMaps.Update(f.Context(), configMap, metav1.UpdateOptions{})
	}
	if err != nil {
		f.Fatal(err)
	}
}

func TestForgedRecordSkipsNoStep(t *testing.T) {
	for name, change := range map[string]func(*api.Run){
		"succeeded, its critical step pending": func(run *api.Run) {
			run.Steps[0] = api.StepRun{Name: "storage", Plugin: "probe", State: api.StepPending}
		},
		"succeeded without steps":     func(run *api.Run) { run.Steps = nil },
		"succeeded by other steps":    func(run *api.Run) { run.Steps[0].Name = "invented" },
		"succeeded by another plugin": func(run *api.Run) { run.Steps[0].Plugin = "logger" },
		"succeeded by a failed optional step": func(run *api.Run) {
			run.Steps[0].State, run.Steps[0].Critical = api.StepFailed, false
		},
		"succeeded without an attempt": func(run *api.Run) { run.Steps[0].Attempts, run.Steps[0].FinishedAt = 0, nil },
		"succeeded by a skipped step":  func(run *api.Run) { run.Steps[0].State, run.Steps[0].Reason = api.StepSkipped, "not here" },
		"succeeded in a dry run":       func(run *api.Run) { run.DryRun = true },
		"bypassed":                     func(run *api.Run) { run.State, run.Steps, run.BypassReason = api.Bypassed, nil, "because" },
		"about another deletion": func(run *api.Run) {
			before := metav1.NewTime(run.DeletionRequestedAt.Add(-time.Hour))
			run.DeletionRequestedAt = &before
		},
		"about no deletion":                func(run *api.Run) { run.DeletionRequestedAt = nil },
		"about a request that nobody made": func(run *api.Run) { run.DeletionRequestedAt, run.CleanupRequestedAt = nil, firstRequest },
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, oneProbe+"retry: {maxRetries: 0}\n")
			calls := make(chan struct{}, 10)
			f.probes["storage"] = func(context.Context, cleanup.Target) error { calls <- struct{}{}; return nil }
			node := f.protected("worker")
			f.delete(node)
			f.forge(node, change)
			f.start(f.options())
			if name == "succeeded by a failed optional step" { // A critical step that failed holds the Node.
				f.awaitState(node, api.Failed)
				return
			}
			f.awaitDeleted(node)
			if len(calls) != 1 {
				t.Errorf("the step was called %d times", len(calls))
			}
			run := f.record(node)
			if run.State != api.Succeeded || len(run.Steps) != 1 || run.Steps[0].State != api.StepSucceeded || run.Steps[0].Attempts == 0 {
				t.Errorf("the run record says %+v", run)
			}
			f.awaitEvent(node, "CleanupCompleted", "Steps: storage succeeded")
		})
	}
}

// The stored record differs from the record that the agent wrote.
func TestRecordForgedDuringTheRunSkipsNoStep(t *testing.T) {
	f := setUp(t, "retry: {initialDelay: 10ms}\n"+oneProbe)
	gate := newGate()
	f.probes["storage"] = gate.pass
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	<-gate.began
	f.forge(node, func(run *api.Run) {
		run.Steps[0] = api.StepRun{Name: "storage", Plugin: "probe", State: api.StepPending}
	})
	close(gate.open)
	f.awaitDeleted(node)
	if len(gate.began) == 0 {
		t.Error("the step did not run again, although its record does not say that it succeeded")
	}
	if run := f.record(node); run.State != api.Succeeded || run.Steps[0].State != api.StepSucceeded {
		t.Errorf("the run record says %+v", run)
	}
}

// An undecodable record need not be deleted.
func TestRetryRequestStartsAnUndecodableRecordOver(t *testing.T) {
	f := setUp(t, oneProbe)
	calls := make(chan struct{}, 10)
	f.probes["storage"] = func(context.Context, cleanup.Target) error { calls <- struct{}{}; return nil }
	node := f.protected("worker")
	f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: firstRequest}) // Of long ago.
	f.delete(node)
	f.forge(node, func(*api.Run) {})
	f.patchRecord(node, `{"data":{"`+api.RunKey+`":"{}"}}`)
	f.start(f.options())
	if message := f.awaitState(node, api.Blocked); !strings.Contains(message, "kubectl nodecleanup retry worker") ||
		!strings.Contains(message, "The retry request does not count: it is of "+firstRequest) || strings.Contains(message, "delete") {
		t.Errorf("the condition says %q", message)
	}
	if len(calls) > 0 {
		t.Error("the step ran before a user asked for it")
	}
	f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: time.Now().Format(time.RFC3339Nano)})
	f.awaitDeleted(node)
	if run := f.record(node); len(calls) != 1 || run.State != api.Succeeded {
		t.Errorf("%d calls, the run record says %+v", len(calls), run)
	}
}

// A retry that is requested while a step still runs is not lost, even if the agent restarts before the
// step ends.
func TestARetryRequestOfARunningStepStartsAnUndecodableRecordOver(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			f := setUp(t, oneProbe)
			gate := newGate()
			f.probes["storage"] = gate.pass
			node := f.protected("worker")
			stop := f.start(f.options())
			f.delete(node)
			<-gate.began
			f.patchRecord(node, `{"data":{"`+api.RunKey+`":"{}"}}`)
			request := time.Now().Format(time.RFC3339Nano)
			f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: request})
			if restart {
				stop()
				f.start(f.options())
			}
			close(gate.open)
			f.awaitDeleted(node)
			if run := f.record(node); len(gate.began) != 1 || run.State != api.Succeeded || run.RetryRequestedAt != request {
				t.Errorf("%d more calls, the run record says %+v", len(gate.began), run)
			}
		})
	}
}
