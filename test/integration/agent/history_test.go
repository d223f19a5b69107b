package agent_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/pruner"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Records are pruned by age and by number. The agent keeps records of existing Nodes and
// undecodable records.
func TestOldRunRecordsArePruned(t *testing.T) {
	f := setUp(t, "history: {maxAge: 24h, maxRuns: 2}\n"+logOnly)
	held := f.create("held", "example.com/other", api.Finalizer)
	f.delete(held)
	record := func(node string, uid types.UID, age time.Duration) {
		t.Helper()
		at := metav1.NewTime(time.Now().Add(-age))
		run := &api.Run{Node: node, NodeUID: uid, State: api.Succeeded, StartedAt: at, FinishedAt: &at}
		configMap, err := api.EncodeRun(f.namespace, run)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.client.CoreV1().ConfigMaps(f.namespace).Create(t.Context(), configMap, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, age := range []time.Duration{time.Hour, 2 * time.Hour, 3 * time.Hour, 48 * time.Hour} {
		record(fmt.Sprintf("gone-%d", i), types.UID(fmt.Sprintf("gone-%d", i)), age)
	}
	record("held", held.UID, 1000*time.Hour)
	unread, err := api.EncodeRun(f.namespace, &api.Run{Node: "unread", NodeUID: "unread"})
	if err != nil {
		t.Fatal(err)
	}
	unread.Data[api.RunKey] = "{"
	if _, err := f.client.CoreV1().ConfigMaps(f.namespace).Create(t.Context(), unread, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.start(f.options())
	want := []string{api.RunName("gone-0", "gone-0"), api.RunName("gone-1", "gone-1"), api.RunName("held", held.UID), api.RunName("unread", "unread")}
	slices.Sort(want)
	f.eventually(fmt.Sprintf("the records are %q", want), func(ctx context.Context) (bool, error) {
		list, err := f.client.CoreV1().ConfigMaps(f.namespace).List(ctx, metav1.ListOptions{LabelSelector: api.LabelRun + "=true"})
		if err != nil {
			return false, err
		}
		names := map[string]bool{}
		for _, configMap := range list.Items {
			names[configMap.Name] = true
		}
		return slices.Equal(slices.Sorted(maps.Keys(names)), want), nil
	})
}

// A Node can lose its finalizer while no agent watches. Its record would stay open for ever.
func TestRecordOfADeletedNodeIsClosedAtTheStart(t *testing.T) {
	f := setUp(t, logOnly)
	node, restored := f.protected("worker"), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "restored", UID: "restored"}}
	at := metav1.NewTime(time.Now().Add(-time.Hour))
	for _, of := range []*corev1.Node{node, restored} {
		record, err := api.EncodeRun(f.namespace, &api.Run{
			Node: of.Name, NodeUID: of.UID, State: api.Waiting, StartedAt: at, DeletionRequestedAt: &at,
			Steps: []api.StepRun{{Name: "drain", Plugin: "drain", State: api.StepPending, Attempts: 1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.client.CoreV1().ConfigMaps(f.namespace).Create(t.Context(), record, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	f.start(f.options())
	f.awaitEvent(restored, "NodeUnprotected", "no longer exists")
	if run := f.record(restored); run.State != api.Failed || run.FinishedAt == nil || run.Message != pruner.NodeAbsent || run.Steps[0].Attempts != 1 {
		t.Errorf("the record is %+v", run)
	}
	if run := f.record(node); run.State != api.Waiting || run.FinishedAt != nil {
		t.Errorf("the record of a node that exists is %+v", run)
	}
}
