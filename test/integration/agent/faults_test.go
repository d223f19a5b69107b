package agent_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// TestMisbehavingServicesDoNotBlockOtherSteps has one step for each way in which a
// service can misbehave, beside a healthy one: the healthy one is done, those that
// recover are retried, and the node stays for those that do not.
func TestMisbehavingServicesDoNotBlockOtherSteps(t *testing.T) {
	var mutex sync.Mutex
	arrived := map[string][]time.Time{}
	inventory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return // The agent gave up.
		}
		path := strings.TrimPrefix(request.URL.Path, "/")
		mutex.Lock()
		arrived[path] = append(arrived[path], time.Now())
		first := len(arrived[path]) == 1
		mutex.Unlock()
		switch {
		case !first && path != "refuses":
		case path == "busy":
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
		case path == "broken":
			w.WriteHeader(http.StatusInternalServerError)
		case path == "hangs":
			<-request.Context().Done()
		case path == "garbage":
			connection, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer connection.Close()
			fmt.Fprint(connection, "\x00\x01 this is not HTTP\r\n\r\n")
		case path == "refuses":
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer inventory.Close()
	config := "concurrency: {stepsPerNode: 10}\nretry: {maxRetries: 2, initialDelay: 50ms}\nsteps:\n- {name: panics, plugin: probe, options: {do: panics}}\n"
	recovering := []string{"healthy", "busy", "broken", "hangs", "garbage"}
	for _, path := range append(recovering, "refuses") {
		config += fmt.Sprintf("- {name: %[1]s, plugin: http, critical: true, timeout: 1s, options: {url: %[2]s/%[1]s}}\n", path, inventory.URL)
	}
	f := setUp(t, config)
	f.probes["panics"] = func(context.Context, cleanup.Target) error { panic("index out of range") }
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	message := f.awaitState(node, api.Failed)
	for _, want := range []string{"step panics failed, attempt 1: plugin probe panicked: index out of range", "step refuses failed", "403"} {
		if !strings.Contains(message, want) {
			t.Errorf("%q is missing in %q", want, message)
		}
	}
	if !api.HasFinalizer(f.read(node)) {
		t.Fatal("the finalizer is removed")
	}
	run := f.record(node)
	for _, name := range recovering {
		if step := run.Step(name); step.State != api.StepSucceeded {
			t.Errorf("step %s: %+v", name, step)
		}
	}
	mutex.Lock()
	defer mutex.Unlock()
	if got := len(arrived["healthy"]); got != 1 {
		t.Errorf("the step that was healthy was called %d times", got)
	}
	if wait := arrived["busy"][1].Sub(arrived["busy"][0]); wait < 2*time.Second {
		t.Errorf("Retry-After: 2 was answered by a retry after %s", wait)
	}
}

// No finalizer of the other writers is lost or restored, and ours is removed only after the
// cleanup.
func TestConcurrentFinalizerEditsArePreserved(t *testing.T) {
	const nodes, writers = 10, 10
	f := setUp(t, "retry: {initialDelay: 10ms}\nsteps:\n- {name: step, plugin: probe, options: {do: step}}\n")
	var mutex sync.Mutex
	done := map[types.UID]bool{}
	open := make(chan struct{})
	f.probes["step"] = func(ctx context.Context, target cleanup.Target) error {
		select {
		case <-open:
		case <-ctx.Done():
			return ctx.Err()
		}
		mutex.Lock()
		defer mutex.Unlock()
		done[target.Node.UID] = true
		return nil
	}
	f.start(f.options())
	var all []*corev1.Node
	for i := range nodes {
		var theirs []string
		for writer := range writers {
			theirs = append(theirs, fmt.Sprintf("example.com/writer-%d", writer))
		}
		node := f.protected(fmt.Sprintf("worker-%d", i), theirs...)
		all = append(all, node)
		f.delete(node)
	}
	// Each writer removes its own finalizer, one node after the other, and never sees it again.
	// Until then, every writer sees it.
	var group sync.WaitGroup
	for writer := range writers {
		group.Go(func() {
			own := fmt.Sprintf("example.com/writer-%d", writer)
			for _, node := range all {
				for range 5 {
					current := f.read(node)
					if current == nil || !slices.Contains(current.Finalizers, own) {
						t.Errorf("finalizer %s of node %s was lost", own, node.Name)
						return
					}
					f.note(node, own)
				}
				patch := fmt.Sprintf(`{"metadata":{"uid":%q,"$deleteFromPrimitiveList/finalizers":[%q]}}`, node.UID, own)
				if _, err := f.client.CoreV1().Nodes().Patch(t.Context(), node.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
					t.Errorf("writer %d: %v", writer, err)
					return
				}
				if current := f.read(node); current != nil && slices.Contains(current.Finalizers, own) {
					t.Errorf("finalizer %s of node %s came back", own, node.Name)
				}
			}
		})
		if writer == writers/2 {
			close(open) // The cleanups end while the others still write.
		}
	}
	group.Wait()
	for _, node := range all {
		f.awaitDeleted(node)
		if run := f.record(node); run.State != api.Succeeded || !done[node.UID] {
			t.Errorf("node %s went with %+v", node.Name, run)
		}
	}
}

// note writes the node, as a controller that keeps its own notes there.
func (f *fixture) note(node *corev1.Node, writer string) {
	f.Helper()
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"annotations":{%q:%q}}}`, node.UID, writer, time.Now().Format(time.RFC3339Nano))
	if _, err := f.client.CoreV1().Nodes().Patch(f.Context(), node.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		f.Error(err)
	}
}

// TestRestartWithAThousandRunsInFlight kills the agent's process while a thousand
// cleanups wait for the answer of a service. All finish; the step before, which
// was recorded as done, is not called again.
func TestRestartWithAThousandRunsInFlight(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute with a thousand nodes")
	}
	const nodes = 1000
	var mutex sync.Mutex
	calls := map[string]int{}
	waiting, open := make(chan struct{}, nodes), make(chan struct{})
	inventory := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
		key := request.Header.Get("Idempotency-Key")
		mutex.Lock()
		calls[key]++
		mutex.Unlock()
		if strings.HasSuffix(key, "/second") {
			select {
			case waiting <- struct{}{}:
			default:
			}
			select {
			case <-open:
			case <-request.Context().Done():
			}
		}
	}))
	defer inventory.Close()
	f := setUp(t, fmt.Sprintf(`concurrency: {nodes: %[2]d}
history: {maxRuns: %[2]d}
steps:
- {name: first, plugin: http, options: {url: "%[1]s"}}
- {name: second, plugin: http, timeout: 10m, dependsOn: [first], options: {url: "%[1]s"}}
`, inventory.URL, nodes))
	agent := f.process()
	if err := agent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := make([]*corev1.Node, nodes)
	f.each(nodes, func(i int) {
		all[i] = f.protected(fmt.Sprintf("worker-%d", i))
		f.delete(all[i])
	})
	for range nodes {
		<-waiting
	}
	if err := agent.Kill(); err != nil {
		t.Fatal(err)
	}
	close(open)
	if err := agent.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.awaitNone(5 * time.Minute)
	mutex.Lock()
	defer mutex.Unlock()
	for _, node := range all {
		if first, second := calls[string(node.UID)+"/first"], calls[string(node.UID)+"/second"]; first != 1 || second != 2 {
			t.Errorf("node %s: first was called %d times, second %d times", node.Name, first, second)
		}
	}
}

// each calls work with every number below n, twenty at a time.
func (f *fixture) each(n int, work func(int)) {
	f.Helper()
	var group sync.WaitGroup
	numbers := make(chan int)
	for range 20 {
		group.Go(func() {
			for i := range numbers {
				work(i)
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	group.Wait()
}

// awaitNone waits until there is no node.
func (f *fixture) awaitNone(limit time.Duration) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), limit)
	defer cancel()
	watch, err := f.client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		f.Fatal(err)
	}
	defer watch.Stop()
	for {
		list, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			f.Fatalf("waiting until every node is deleted: %v", err)
		}
		if len(list.Items) == 0 {
			return
		}
		if _, more := <-watch.ResultChan(); !more {
			if watch, err = f.client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{}); err != nil {
				f.Fatalf("waiting until every node is deleted: %v", err)
			}
		}
	}
}

// Running steps are cancelled before another agent could have become the leader, and their results
// do not count. All cleanups finish when the API server is available again.
func TestRunsResumeAfterAnAPIServerOutage(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute without API server")
	}
	const away = time.Minute
	f := setUp(t, "retry: {initialDelay: 100ms}\nsteps:\n- {name: before, plugin: probe, options: {do: before}}\n- {name: step, plugin: probe, timeout: 10m, dependsOn: [before], options: {do: step}}\n")
	before := f.counted("before")
	began, cancelled := make(chan int, 10), make(chan time.Time, 10)
	f.probes["step"] = func(ctx context.Context, target cleanup.Target) error {
		began <- target.Attempt
		if target.Attempt > 1 {
			return nil
		}
		<-ctx.Done()
		cancelled <- time.Now()
		return nil // It comes too late to count.
	}
	f.start(f.options())
	node := f.protected("worker")
	f.delete(node)
	if attempt := <-began; attempt != 1 {
		t.Fatalf("the first attempt is number %d", attempt)
	}
	server := shared.Component("kube-apiserver")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	left := time.Now()
	back := time.NewTimer(away)
	stopped := <-cancelled
	<-back.C
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Its Lease could be taken after three seconds, see the fixture's timing.
	if took := stopped.Sub(left); took > 3*time.Second {
		t.Errorf("the step was cancelled %s after the API server went away", took)
	}
	f.awaitDeleted(node)
	if attempt := <-began; attempt != 2 {
		t.Errorf("the second attempt is number %d", attempt)
	}
	if got := len(before.calls); got != 1 {
		t.Errorf("the step that was recorded as done was called %d times", got)
	}
}
