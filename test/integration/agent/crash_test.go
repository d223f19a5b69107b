package agent_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// kills is how often the agent is killed at a random moment.
const kills = 50

// takes is how long the inventory takes to answer: long enough for a kill to meet a step.
const takes = 30 * time.Millisecond

// TestRandomlyKilledAgentFinishesEveryNode kills the agent's process
// at random moments while nodes are deleted, one at a time and, each fifth time, 15 at
// once. Every node is removed in the end, after each of its steps; no step is called again that was recorded as done; and no
// call has a key that is not that node's and step's.
func TestRandomlyKilledAgentFinishesEveryNode(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute of restarts")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var mutex sync.Mutex
	calls := map[string]int{}
	inventory := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		mutex.Lock()
		calls[request.Header.Get("Idempotency-Key")]++
		mutex.Unlock()
		answer := time.NewTimer(takes)
		defer answer.Stop()
		select {
		case <-answer.C:
		case <-request.Context().Done():
		}
	}))
	defer inventory.Close()
	steps := []string{"one", "two", "three"}
	f := setUp(t, fmt.Sprintf(`retry: {initialDelay: 10ms}
concurrency: {nodes: 40}
steps:
- {name: one, plugin: http, options: {url: "%[1]s"}}
- {name: two, plugin: http, dependsOn: [one], options: {url: "%[1]s"}}
- {name: three, plugin: http, dependsOn: [two], options: {url: "%[1]s"}}
`, inventory.URL))
	agent := f.process()
	var nodes []*corev1.Node
	// settled holds the number of calls of each step at a time when it was
	// recorded as done and no agent ran.
	settled := map[string]int{}
	// hits counts the kills that interrupted a run with a started step.
	hits := 0
	for kill := range kills {
		if err := agent.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		together := 1
		if kill%5 == 0 {
			together = 15
		}
		before := len(nodes)
		for i := range together {
			nodes = append(nodes, f.protected(fmt.Sprintf("worker-%d-%d", kill, i)))
		}
		for _, node := range nodes[before:] {
			f.delete(node)
		}
		moment := time.NewTimer(time.Duration(random.Int64N(int64(250 * time.Millisecond))))
		<-moment.C
		if err := agent.Kill(); err != nil {
			t.Fatal(err)
		}
		hit := false
		for _, run := range f.records() {
			hit = hit || run.FinishedAt == nil && len(run.Steps) > 0 && run.Steps[0].Attempts > 0
			for _, step := range run.Steps {
				key := string(run.NodeUID) + "/" + step.Name
				if _, known := settled[key]; !known && step.State == api.StepSucceeded {
					mutex.Lock()
					settled[key] = calls[key]
					mutex.Unlock()
				}
			}
		}
		if hit {
			hits++
		}
		for _, node := range nodes {
			if f.read(node) == nil && f.record(node).State != api.Succeeded {
				t.Fatalf("node %s was deleted before its cleanup completed: %+v", node.Name, f.record(node))
			}
		}
	}
	if err := agent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		f.awaitDeleted(node)
	}
	mutex.Lock()
	defer mutex.Unlock()
	repeated := 0
	for _, node := range nodes {
		for _, step := range steps {
			key := string(node.UID) + "/" + step
			if calls[key] == 0 {
				t.Errorf("node %s was deleted without step %s", node.Name, step)
			}
			if done, known := settled[key]; known && calls[key] != done {
				t.Errorf("step %s of node %s was recorded as done after %d calls and called %d times", step, node.Name, done, calls[key])
			}
			if calls[key] > 1 {
				repeated++
			}
		}
	}
	if len(calls) != len(nodes)*len(steps) {
		t.Errorf("%d keys for %d steps of %d nodes", len(calls), len(steps), len(nodes))
	}
	// Without an interrupted run the test proves nothing.
	if hits == 0 || len(settled) == 0 {
		t.Errorf("of %d kills %d cut a run short, and %d steps were recorded as done at one", kills, hits, len(settled))
	}
	t.Logf("%d kills, %d of which cut a run short: %d steps recorded as done at a kill, %d interrupted ones called again", kills, hits, len(settled), repeated)
}

// records returns every run record.
func (f *fixture) records() []*api.Run {
	f.Helper()
	list, err := f.client.CoreV1().ConfigMaps(f.namespace).List(context.WithoutCancel(f.Context()), metav1.ListOptions{LabelSelector: api.LabelRun + "=true"})
	if err != nil {
		f.Fatal(err)
	}
	var runs []*api.Run
	for i := range list.Items {
		run, err := api.DecodeRun(&list.Items[i])
		if err != nil {
			f.Fatal(err)
		}
		runs = append(runs, run)
	}
	return runs
}
