package agent_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// TestRunsOutliveTheAPIServer restarts the API server while many cleanups run:
// each of them ends, none skips a step.
func TestRunsOutliveTheAPIServer(t *testing.T) {
	const nodesEach, restarts = 20, 10
	f := setUp(t, `retry: {initialDelay: 100ms}
steps:
- {name: one, plugin: probe, options: {do: slow}}
- {name: two, plugin: probe, dependsOn: [one], options: {do: slow}}
`)
	var mutex sync.Mutex
	done := map[string]int{}
	f.probes["slow"] = func(ctx context.Context, target cleanup.Target) error {
		work := time.NewTimer(200 * time.Millisecond)
		defer work.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-work.C:
		}
		mutex.Lock()
		defer mutex.Unlock()
		done[target.IdempotencyKey]++
		return nil
	}
	f.start(f.options())
	var nodes []*corev1.Node
	for restart := range restarts {
		for i := range nodesEach {
			node := f.protected(fmt.Sprintf("worker-%d-%d", restart, i))
			nodes = append(nodes, node)
			f.delete(node)
		}
		if err := shared.Component(cluster.APIServer).Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range nodes {
		f.awaitGone(node)
	}
	mutex.Lock()
	defer mutex.Unlock()
	for _, node := range nodes {
		for _, step := range []string{"one", "two"} {
			if done[string(node.UID)+"/"+step] == 0 {
				t.Errorf("node %s went without step %s", node.Name, step)
			}
		}
	}
}
