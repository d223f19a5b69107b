package agent_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// TestKilledAgentFinishesAfterARestart kills the agent's process while a step
// runs: the step before it must not run again, it itself must, by the same key.
func TestKilledAgentFinishesAfterARestart(t *testing.T) {
	var mutex sync.Mutex
	calls := map[string]int{}
	keys := map[string]int{}
	began := make(chan struct{}, 10)
	inventory := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		mutex.Lock()
		calls[request.URL.Path]++
		keys[request.Header.Get("Idempotency-Key")]++
		first := calls["/second"] == 1 && request.URL.Path == "/second"
		mutex.Unlock()
		if first {
			if _, err := io.Copy(io.Discard, request.Body); err != nil { // Only then a server notices that its client has disconnected.
				t.Error(err)
			}
			began <- struct{}{}
			<-request.Context().Done() // The agent is killed in the meantime.
		}
	}))
	defer inventory.Close()
	f := setUp(t, fmt.Sprintf(`steps:
- {name: first, plugin: http, options: {url: "%[1]s/first"}}
- {name: second, plugin: http, dependsOn: [first], options: {url: "%[1]s/second"}}
`, inventory.URL))
	agent := f.process()
	if err := agent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	node := f.protected("worker")
	f.delete(node)
	<-began
	if err := agent.Kill(); err != nil {
		t.Fatal(err)
	}
	if current := f.read(node); current == nil || !api.HasFinalizer(current) {
		t.Fatal("the node is free although its cleanup was cut short")
	}
	if err := agent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.awaitDeleted(node)
	mutex.Lock()
	defer mutex.Unlock()
	if calls["/first"] != 1 || calls["/second"] != 2 || keys[string(node.UID)+"/second"] != 2 || len(keys) != 2 {
		t.Errorf("calls by path: %v, by idempotency key: %v", calls, keys)
	}
}

// process returns the agent as a separate process, not started yet.
func (f *fixture) process() *cluster.Process {
	f.Helper()
	user, groups := f.user()
	kubeconfig, err := shared.KubeconfigFor(user, groups...)
	if err != nil {
		f.Fatal(err)
	}
	return f.processWith(kubeconfig)
}

// processWith is process with a kubeconfig of the test's own, and with more flags.
func (f *fixture) processWith(kubeconfig string, flags ...string) *cluster.Process {
	f.Helper()
	return f.processOf("../../../cmd/nodecleanup-agent", kubeconfig, flags...)
}

// processOf is processWith for the agent whose main package is in that folder.
func (f *fixture) processOf(folder, kubeconfig string, flags ...string) *cluster.Process {
	f.Helper()
	binary := filepath.Join(f.TempDir(), "nodecleanup-agent")
	build := exec.CommandContext(f.Context(), "go", "build", "-o", binary, folder)
	if output, err := build.CombinedOutput(); err != nil {
		f.Fatalf("building the agent: %v\n%s", err, output)
	}
	probes := fmt.Sprintf("127.0.0.1:%d", freePort(f.T))
	logs := f.TempDir()
	process := cluster.NewProcess(cluster.Command{
		Name: "nodecleanup-agent",
		Path: binary,
		Args: append([]string{
			"--kubeconfig=" + kubeconfig, "--namespace=" + f.namespace, "--probe-listen=" + probes,
			// The same identity takes its Lease back without waiting for it to run out.
			"--identity=test",
		}, flags...),
		Ready: cluster.Ready{URL: "http://" + probes + "/readyz"},
	}, logs)
	f.Cleanup(func() {
		if err := process.Stop(context.WithoutCancel(f.Context())); err != nil {
			f.Errorf("stopping the agent: %v", err)
		}
		if f.Failed() {
			if log, err := os.ReadFile(process.Log()); err == nil {
				f.Logf("the agent's log:\n%s", log)
			}
		}
	})
	return process
}
