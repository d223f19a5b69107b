package dashboard

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
)

// The cluster is read every few seconds. A page reads thousands of nodes again only if something of them changed.
func TestRevisionCountsChanges(t *testing.T) {
	at := time.Date(2026, 12, 1, 3, 0, 0, 0, time.UTC)
	c := &Cluster{Now: func() time.Time { at = at.Add(time.Second); return at }}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "uid", Finalizers: []string{api.Finalizer}}}
	for i, step := range []struct {
		change   func()
		revision uint64
	}{
		{func() {}, 1}, {func() {}, 1}, {func() { node.Spec.Unschedulable = true }, 2}, {func() {}, 2}, {func() { c.setProblem(errors.New("gone")) }, 2},
	} {
		step.change()
		before := c.read().changed
		c.show(&inspect.Snapshot{}, []*corev1.Node{node.DeepCopy()})
		select {
		case <-before:
		default:
			t.Errorf("%d: the streams are not woken", i)
		}
		if now := c.read(); now.revision != step.revision || now.problem != "" {
			t.Errorf("%d: revision %d, want %d, problem %q", i, now.revision, step.revision, now.problem)
		}
	}
}

// The record of a deleted Node is not that of a new Node with the same name.
func TestNodeWithTheNameOfADeletedOne(t *testing.T) {
	run := &api.Run{Node: "worker", NodeUID: "old", State: api.Succeeded, StartedAt: metav1.Now()}
	record, err := api.EncodeRun("ns", run)
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(record)
	c := &Cluster{Client: client, Namespace: "ns", Now: time.Now}
	if view, err := c.node(t.Context(), "worker"); err != nil || view.Run == nil || view.Row != nil {
		t.Errorf("the deleted node: %+v, %v", view, err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "new"}}
	if err := client.Tracker().Add(node); err != nil {
		t.Fatal(err)
	}
	c.show(&inspect.Snapshot{}, []*corev1.Node{node})
	if view, err := c.node(t.Context(), "worker"); err != nil || view.Run != nil || view.Row == nil {
		t.Errorf("the new node: %+v, %v", view, err)
	}
}
