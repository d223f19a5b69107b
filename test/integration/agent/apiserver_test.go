package agent_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// TestRunsOutliveTheAPIServer restarts the API server while many cleanups run:
// each of them ends, none skips a step, and none repeats one that was recorded as done.
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
	// settled holds the number of calls of each step when it was recorded as done.
	settled, interrupted := map[string]int{}, 0
	for restart := range restarts {
		for i := range nodesEach {
			node := f.protected(fmt.Sprintf("worker-%d-%d", restart, i))
			nodes = append(nodes, node)
			f.delete(node)
		}
		f.eventually("a step is under way", func(context.Context) (bool, error) {
			under := 0
			for _, run := range f.records() {
				if len(run.Steps) > 0 && run.FinishedAt == nil {
					under++
				}
			}
			interrupted += under
			return under > 0, nil
		})
		if err := shared.Component(cluster.APIServer).Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, run := range f.records() {
			for _, step := range run.Steps {
				key := string(run.NodeUID) + "/" + step.Name
				if _, known := settled[key]; !known && step.State == api.StepSucceeded {
					mutex.Lock()
					settled[key] = done[key]
					mutex.Unlock()
				}
			}
		}
	}
	for _, node := range nodes {
		f.awaitDeleted(node)
	}
	mutex.Lock()
	defer mutex.Unlock()
	t.Logf("%d runs, %d restarts: %d runs were under way at one, %d steps recorded as done", len(nodes), restarts, interrupted, len(settled))
	if len(settled) == 0 {
		t.Error("no step was recorded as done at a restart: this proves nothing")
	}
	for key, calls := range settled {
		if done[key] != calls {
			t.Errorf("step %s was recorded as done after %d calls and called %d times", key, calls, done[key])
		}
	}
	for _, node := range nodes {
		for _, step := range []string{"one", "two"} {
			if done[string(node.UID)+"/"+step] == 0 {
				t.Errorf("node %s went without step %s", node.Name, step)
			}
		}
	}
}
