package agent_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/nodecleanup/kubectl-nodecleanup/agent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// through returns the options of an agent that reaches the API server through the proxy.
func (f *fixture) through(b *between) agent.Options {
	f.Helper()
	rest, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig(f))
	if err != nil {
		f.Fatal(err)
	}
	options := f.options()
	options.REST = rest
	return options
}

// isRecordUpdate reports whether a request updates a run record.
func isRecordUpdate(request *http.Request) bool {
	return request.Method == http.MethodPut && strings.Contains(request.URL.Path, "/configmaps/run-")
}

// The API server is unavailable when a step ends, or becomes unavailable after it has written the
// record.
func TestStepIsNotRepeatedAfterAFailedSave(t *testing.T) {
	const tries = 4
	for how, cut := range map[string]func(*between, func(*http.Request) bool){
		"before": func(b *between, first func(*http.Request) bool) { b.put(first, nil) },
		"after": func(b *between, first func(*http.Request) bool) {
			b.put(nil, func(request *http.Request) {
				if first(request) {
					panic(http.ErrAbortHandler)
				}
			})
		},
	} {
		t.Run(how, func(t *testing.T) {
			f := setUp(t, "steps:\n- {name: first, plugin: probe, options: {do: first}}\n- {name: second, plugin: probe, dependsOn: [first], options: {do: second}}\n")
			gate := newGate()
			var second atomic.Int32
			f.probes["first"] = gate.pass
			f.probes["second"] = func(context.Context, cleanup.Target) error { second.Add(1); return nil }
			proxy := f.between()
			f.start(f.through(proxy))
			node := f.protected("worker")
			f.delete(node)
			<-gate.began
			var seen atomic.Int32
			cut(proxy, func(request *http.Request) bool { return isRecordUpdate(request) && seen.Add(1) <= tries })
			close(gate.open)
			f.awaitDeleted(node)
			if again := len(gate.began); again != 0 || second.Load() != 1 || seen.Load() <= tries {
				t.Errorf("the first step was called %d times again, the second %d times, in %d writes", again, second.Load(), seen.Load())
			}
			for _, step := range f.record(node).Steps {
				if step.State != api.StepSucceeded || step.Attempts != 1 {
					t.Errorf("step %s: %+v", step.Name, step)
				}
			}
		})
	}
}
