package agent_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// A cleanup may end within a second. kubectl describe node must still show its steps.
func TestQuickCleanupHasAnEventPerStep(t *testing.T) {
	f := setUp(t, oneProbe)
	f.probes["storage"] = func(context.Context, cleanup.Target) error { return nil }
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	f.awaitDeleted(node)
	f.awaitEvent(node, "CleanupStarted", "Steps: storage")
	f.awaitEvent(node, "StepStarted", "Step storage (probe) started")
	f.awaitEvent(node, "StepSucceeded", "Step storage (probe) done in ")
	f.awaitEvent(node, "CleanupCompleted", "Steps: storage succeeded in ")
}

func TestInBulkAQuickCleanupHasOneEvent(t *testing.T) {
	const bulk = 30
	f := setUp(t, "concurrency: {nodes: 2}\n"+oneProbe)
	f.probes["storage"] = func(context.Context, cleanup.Target) error { return nil }
	var nodes []*corev1.Node
	for i := range bulk {
		node := f.protected(fmt.Sprintf("worker-%d", i))
		f.delete(node) // Before the agent looks, so that it finds all at once.
		nodes = append(nodes, node)
	}
	f.start(f.options())
	for _, node := range nodes {
		f.awaitEvent(node, "CleanupCompleted", "Steps: storage succeeded in ")
	}
	count := 0
	for _, node := range nodes {
		count += f.events(node, "CleanupStarted")
	}
	// The last ones are no bulk any more.
	if count == 0 || count > bulk/2 {
		t.Errorf("of %d nodes, %d have all Events, want the last few", bulk, count)
	}
}
