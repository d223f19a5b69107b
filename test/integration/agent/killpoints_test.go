package agent_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// TestAgentKilledAroundEachWriteResumes kills the agent's process right before
// and right after each thing that a cleanup writes. The node is removed in the end, its
// step was called, by one key, and never again after that was recorded.
func TestAgentKilledAroundEachWriteResumes(t *testing.T) {
	var calls struct {
		sync.Mutex
		byKey map[string]int
		// before and after are called with a call of the step that has not
		// counted yet, and that has.
		before, after func()
	}
	calls.byKey = map[string]int{}
	inventory := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		calls.Lock()
		before, after := calls.before, calls.after
		calls.Unlock()
		if before != nil {
			before()
			return
		}
		calls.Lock()
		calls.byKey[request.Header.Get("Idempotency-Key")]++
		calls.Unlock()
		if after != nil {
			after()
		}
	}))
	defer inventory.Close()
	f := setUp(t, "retry: {initialDelay: 10ms}\nsteps:\n- {name: tell, plugin: http, options: {url: \""+inventory.URL+"\"}}\n")
	proxy := f.between()
	agent := f.processWith(proxy.kubeconfig(f))
	record := func(method string) func(*http.Request) bool {
		return func(r *http.Request) bool {
			// A record is created under the path of all ConfigMaps, as the agent's status is, and updated under its own.
			return r.Method == method && (strings.Contains(r.URL.Path, "/configmaps/run-worker-") ||
				strings.HasSuffix(r.URL.Path, "/configmaps") && sends(r, "run-worker-"))
		}
	}
	finalizer := func(r *http.Request) bool {
		return (r.Method == http.MethodPut || r.Method == http.MethodPatch) && strings.HasSuffix(r.URL.Path, "/nodes/worker")
	}
	for _, point := range []struct {
		name string
		is   func(*http.Request) bool
		// recorded: the step is recorded as done when the agent is killed.
		recordedBefore, recordedAfter bool
		// The recorded state of the step when the agent is killed; "" without a record.
		stateBefore, stateAfter api.StepState
	}{
		{"the record is written", record(http.MethodPost), false, false, "", api.StepRunning},
		{"the step is called", nil, false, false, api.StepRunning, api.StepRunning},
		{"the result is recorded", record(http.MethodPut), false, true, api.StepRunning, api.StepSucceeded},
		{"the finalizer is removed", finalizer, true, true, api.StepSucceeded, api.StepSucceeded},
	} {
		for moment, recorded := range map[string]bool{"before": point.recordedBefore, "after": point.recordedAfter} {
			state := point.stateAfter
			if moment == "before" {
				state = point.stateBefore
			}
			t.Run(moment+" "+point.name, func(t *testing.T) {
				f := f.in(t)
				if err := agent.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				killed := make(chan struct{})
				var once sync.Once
				kill := func() {
					once.Do(func() {
						if err := agent.Kill(); err != nil {
							t.Error(err)
						}
						close(killed)
					})
				}
				onRequest := func(r *http.Request) bool {
					is := point.is(r)
					if is {
						kill()
					}
					return is
				}
				calls.Lock()
				calls.before, calls.after = nil, nil
				switch {
				case point.is == nil && moment == "before":
					calls.before = kill
				case point.is == nil:
					calls.after = kill
				case moment == "before":
					proxy.put(onRequest, nil)
				default:
					proxy.put(nil, func(r *http.Request) { onRequest(r) })
				}
				calls.Unlock()
				node := f.protected("worker")
				f.delete(node)
				<-killed
				proxy.put(nil, nil)
				calls.Lock()
				calls.before, calls.after = nil, nil
				key := string(node.UID) + "/tell"
				atKill := calls.byKey[key]
				calls.Unlock()
				if got := f.stepState(node, "tell"); got != state {
					t.Errorf("the agent was killed when the step was recorded as %q, want %q", got, state)
				}
				if deleted := f.read(node) == nil; deleted && !recorded {
					t.Fatal("the node went before its step was recorded as done")
				}
				if err := agent.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				f.awaitDeleted(node)
				if err := agent.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				calls.Lock()
				defer calls.Unlock()
				switch {
				case calls.byKey[key] == 0:
					t.Error("the node went without its step")
				case recorded && calls.byKey[key] != atKill:
					t.Errorf("the step was recorded as done after %d calls, and was called %d times", atKill, calls.byKey[key])
				case calls.byKey[key] > 2:
					t.Errorf("the step was called %d times", calls.byKey[key])
				}
				if run := f.record(node); run.State != api.Succeeded {
					t.Errorf("the run record says %+v", run)
				}
			})
		}
	}
}

// stepState returns a step's recorded state, "" without a record.
func (f *fixture) stepState(node *corev1.Node, step string) api.StepState {
	f.Helper()
	list, err := f.client.CoreV1().ConfigMaps(f.namespace).List(f.Context(), listNamed(api.RunName(node.Name, node.UID)))
	if err != nil {
		f.Fatal(err)
	}
	if len(list.Items) == 0 {
		return ""
	}
	return f.record(node).Step(step).State
}
