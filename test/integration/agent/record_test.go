package agent_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/pruner"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func (f *fixture) patchRecord(node *corev1.Node, patch string) {
	f.Helper()
	if _, err := f.client.CoreV1().ConfigMaps(f.namespace).Patch(f.Context(), api.RunName(node.Name, node.UID), types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		f.Fatal(err)
	}
}

// Controllers stamp ConfigMaps, people label them, and a user clears a namespace.
func TestEditsOfTheRecordDoNotStopSteps(t *testing.T) {
	for how, do := range map[string]func(*fixture, *corev1.Node){
		"labelled": func(f *fixture, node *corev1.Node) {
			f.patchRecord(node, `{"metadata":{"labels":{"theirs":"yes"},"annotations":{"theirs":"yes"}}}`)
		},
		"deleted": func(f *fixture, node *corev1.Node) {
			if err := f.client.CoreV1().ConfigMaps(f.namespace).Delete(f.Context(), api.RunName(node.Name, node.UID), metav1.DeleteOptions{}); err != nil {
				f.Fatal(err)
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			f := setUp(t, "steps:\n- {name: first, plugin: probe, options: {do: first}}\n- {name: second, plugin: probe, dependsOn: [first], options: {do: second}}\n")
			gate, again := newGate(), newGate()
			f.probes["first"], f.probes["second"] = gate.pass, again.pass
			f.start(f.options())
			node := f.protected("worker")
			f.delete(node)
			<-gate.began
			do(f, node)
			close(gate.open)
			<-again.began
			do(f, node)
			close(again.open)
			f.awaitDeleted(node)
			if more := len(gate.began) + len(again.began); more > 0 {
				t.Errorf("steps were called again: %d", more)
			}
			record := f.record(node)
			for _, step := range record.Steps {
				if step.State != api.StepSucceeded || step.Attempts != 1 {
					t.Errorf("step %s: %s after %d attempts", step.Name, step.State, step.Attempts)
				}
			}
			if len(record.Steps) != 2 || record.State != api.Succeeded {
				t.Errorf("the record says %+v", record)
			}
			if configMap, err := f.client.CoreV1().ConfigMaps(f.namespace).Get(t.Context(), api.RunName(node.Name, node.UID), metav1.GetOptions{}); err != nil ||
				how == "labelled" && (configMap.Labels["theirs"] != "yes" || configMap.Annotations["theirs"] != "yes") || configMap.Labels[api.LabelRun] == "" {
				t.Errorf("the record is %+v, %v", configMap, err)
			}
		})
	}
}

// If another client wrote the record, or the response to a write was lost, the record must not
// stay Running forever.
func TestRecordWrittenByAnotherClientIsClosed(t *testing.T) {
	f := setUp(t, "steps: [{name: storage, plugin: probe}]\n")
	gate := newGate()
	f.probes[""] = gate.pass
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	<-gate.began
	run := f.record(node)
	run.Steps[0].Progress = "written by another client"
	f.store(run)
	f.patch(node, `{"metadata":{"finalizers":null}}`)
	f.eventually("the record is closed", func(context.Context) (bool, error) {
		run = f.record(node)
		return run.FinishedAt != nil, nil
	})
	if run.State != api.Failed || run.Message != pruner.NodeRemoved {
		t.Errorf("the record says %s, %q", run.State, run.Message)
	}
}

func TestFailedRecordWriteIsReportedAndRetried(t *testing.T) {
	f := setUp(t, logOnly)
	f.start(f.options())
	node := f.protected("worker")
	allow := f.refuseRecords()
	mark, err := shared.AuditMark()
	if err != nil {
		t.Fatal(err)
	}
	f.delete(node)
	if message := f.awaitState(node, api.Blocked); !strings.Contains(message, "cleanup interrupted, retrying") || !strings.Contains(message, "nobody touches this") {
		t.Errorf("the condition says %q", message)
	}
	var tries []time.Time
	f.eventually("it was tried four times", func(context.Context) (bool, error) {
		requests, err := shared.AuditSince(mark)
		tries = nil
		for _, request := range requests {
			if request.Verb == "create" && request.Resource == "configmaps" && request.Code == 403 {
				tries = append(tries, request.Received)
			}
		}
		return len(tries) >= 4, err
	})
	// 0.2 s, 0.4 s and 0.8 s, or more.
	if took := tries[3].Sub(tries[0]); took < 1300*time.Millisecond {
		t.Errorf("four tries took no more than %s", took)
	}
	allow()
	f.awaitDeleted(node)
}

func TestBypassOverridesARecord(t *testing.T) {
	bypass := map[string]string{api.AnnotationBypass: "true", api.AnnotationBypassBy: "admin", api.AnnotationBypassReason: "gone to the scrapyard"}
	t.Run("that cannot be read", func(t *testing.T) {
		f := setUp(t, "steps: [{name: storage, plugin: probe}]\n")
		gate := newGate()
		f.probes[""] = gate.pass
		stop := f.start(f.options())
		node := f.protected("worker")
		f.delete(node)
		<-gate.began
		stop()
		f.patchRecord(node, `{"data":{"`+api.RunKey+`":"{}"}}`)
		f.start(f.options())
		if message := f.awaitState(node, api.Blocked); !strings.Contains(message, "cannot decode the run record") || !strings.Contains(message, "kubectl nodecleanup retry worker") {
			t.Errorf("the condition says %q", message)
		}
		f.annotate(node, bypass)
		f.awaitDeleted(node)
		if run := f.record(node); run.State != api.Bypassed || run.BypassReason != "gone to the scrapyard" {
			t.Errorf("the record says %+v", run)
		}
	})
	t.Run("that cannot be written", func(t *testing.T) {
		f := setUp(t, logOnly)
		f.start(f.options())
		node := f.protected("worker")
		f.refuseRecords()
		f.delete(node)
		f.awaitState(node, api.Blocked)
		f.annotate(node, bypass)
		f.awaitDeleted(node)
		f.awaitEvent(node, "CleanupBypassed", "gone to the scrapyard")
	})
}

type panics struct{ probe }

func (panics) Applies(*corev1.Node) (bool, string) { panic("nil map") }

func TestPanickingHealthCheckHoldsOnlyItsNode(t *testing.T) {
	f := setUp(t, "steps:\n- {name: ours, plugin: probe}\n- {name: theirs, plugin: panics, nodeSelector: {matchLabels: {bad: \"yes\"}}}\n")
	f.probes[""] = func(context.Context, cleanup.Target) error { return nil }
	f.start(f.with("panics", panics{probe{f, ""}}))
	bad, good := f.protected("bad"), f.protected("good")
	f.patch(bad, `{"metadata":{"labels":{"bad":"yes"}}}`)
	f.delete(bad)
	if message := f.awaitState(bad, api.Blocked); !strings.Contains(message, "a plugin panicked") || !strings.Contains(message, "nil map") {
		t.Errorf("the condition says %q", message)
	}
	f.delete(good)
	f.awaitDeleted(good)
}
