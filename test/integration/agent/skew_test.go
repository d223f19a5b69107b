package agent_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// After a rollback, the older agent ignores unknown fields and preserves them.
func TestRecordOfANewerAgentIsContinued(t *testing.T) {
	f := setUp(t, "steps:\n- {name: first, plugin: probe, options: {do: first}}\n- {name: second, plugin: probe, dependsOn: [first], options: {do: second}}\n")
	first, second := newGate(), newGate()
	f.probes["first"], f.probes["second"] = first.pass, second.pass
	stop := f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	close(first.open)
	<-second.began
	stop()
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	configMap, err := configMaps.Get(t.Context(), api.RunName(node.Name, node.UID), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := configMap.Data[api.RunKey]
	configMap.Data[api.RunKey] = strings.Replace(strings.Replace(data, `{"`, `{"notifiedTo":["jane"],"`, 1), `"steps":[{`, `"steps":[{"outputs":{"ticket":"7"},`, 1)
	if _, err := configMaps.Update(t.Context(), configMap, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	close(second.open)
	f.start(f.options())
	f.awaitDeleted(node)
	if calls := len(first.began); calls != 1 {
		t.Errorf("the first step was called %d times", calls)
	}
	if configMap, err = configMaps.Get(t.Context(), configMap.Name, metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"notifiedTo":["jane"]`, `"outputs":{"ticket":"7"}`, `"state":"Succeeded"`} {
		if !strings.Contains(configMap.Data[api.RunKey], want) {
			t.Errorf("the record lacks %s: %s", want, configMap.Data[api.RunKey])
		}
	}
}

// The meaning of an unknown state is not known, so the cleanup waits until the agent is upgraded
// or an operator requests a retry.
func TestStateOfANewerAgentPausesTheCleanup(t *testing.T) {
	for what, change := range map[string]func(*api.Run){
		"this version does not know state Verifying":                   func(run *api.Run) { run.State = "Verifying" },
		"this version does not know state PoweringOff of step storage": func(run *api.Run) { run.Steps[0].State = "PoweringOff" },
	} {
		t.Run(what, func(t *testing.T) {
			f := setUp(t, oneProbe)
			calls := make(chan struct{}, 10)
			f.probes["storage"] = func(context.Context, cleanup.Target) error { calls <- struct{}{}; return nil }
			node := f.protected("worker")
			f.delete(node)
			f.forge(node, change)
			f.start(f.options())
			message := f.awaitState(node, api.Blocked)
			for _, want := range []string{what, "The cleanup is paused", "upgrade the agent", "kubectl nodecleanup retry worker"} {
				if !strings.Contains(message, want) {
					t.Errorf("the condition lacks %q: %s", want, message)
				}
			}
			if len(calls) > 0 {
				t.Error("the step ran")
			}
			f.annotate(node, map[string]string{api.AnnotationRetryRequestedAt: time.Now().UTC().Format(time.RFC3339Nano)})
			f.awaitDeleted(node)
			if run := f.record(node); len(calls) != 1 || run.State != api.Succeeded {
				t.Errorf("%d calls, the run record says %+v", len(calls), run)
			}
		})
	}
}

// After an upgrade, the agent continues the record of a run that the agent of commit a72c662
// began.
func TestRecordOfAnOlderAgentIsContinued(t *testing.T) {
	f := setUp(t, "steps:\n- {name: tell, plugin: logger, critical: true}\n- {name: storage, plugin: probe, critical: true, dependsOn: [tell], options: {do: storage}}\n"+
		"- {name: gpu, plugin: logger, nodeSelector: {matchLabels: {gpu: \"yes\"}}}\n")
	calls := make(chan struct{}, 10)
	f.probes["storage"] = func(context.Context, cleanup.Target) error { calls <- struct{}{}; return nil }
	node := f.protected("running")
	f.delete(node)
	data, err := os.ReadFile("../../../pkg/api/testdata/older/running.json")
	if err != nil {
		t.Fatal(err)
	}
	older := strings.NewReplacer(
		"a41cce73-acad-4252-a702-6dd61e2f2eaa", string(node.UID),
		`"deletionRequestedAt": "2026-11-29T21:52:02Z"`, `"deletionRequestedAt": "`+f.read(node).DeletionTimestamp.UTC().Format(time.RFC3339)+`"`,
	).Replace(string(data))
	f.forge(node, func(*api.Run) {}) // The ConfigMap with its labels.
	configMaps := f.client.CoreV1().ConfigMaps(f.namespace)
	configMap, err := configMaps.Get(t.Context(), api.RunName(node.Name, node.UID), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	configMap.Data[api.RunKey] = older
	if _, err := configMaps.Update(t.Context(), configMap, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.start(f.options())
	f.awaitDeleted(node)
	run := f.record(node)
	tell, storage := run.Step("tell"), run.Step("storage")
	if run.State != api.Succeeded || len(calls) != 1 || tell == nil || tell.Attempts != 1 || storage == nil || storage.Attempts != 2 {
		t.Errorf("%d calls, the run record says %+v", len(calls), run)
	}
	if began := run.StartedAt.UTC().Format(time.RFC3339); began != "2026-11-29T21:52:02Z" {
		t.Errorf("the run began at %s: it is another one", began)
	}
}
