package operate_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

// A user who waits an hour for a cleanup must not get "connection refused" in between, with a node
// that stays cordoned and is never deleted.
func TestWaitOutlivesTheAPIServer(t *testing.T) {
	began, end := make(chan struct{}, 1), make(chan struct{})
	inventory := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		if request.Method != http.MethodPost {
			return // It is asked how it is.
		}
		select {
		case began <- struct{}{}:
		default:
		}
		select {
		case <-end:
		case <-request.Context().Done():
		}
	}))
	t.Cleanup(inventory.Close)
	f := setUp(t, fmt.Sprintf("retry: {initialDelay: 10ms}\nsteps: [{name: tell, plugin: http, options: {url: %q}}]\n", inventory.URL))
	f.start()
	f.node("worker", nil)
	outage := func(out *growing) {
		f.eventually("it says so", func(context.Context) (bool, error) {
			return strings.Contains(out.String(), "the API server is unavailable, retrying"), nil
		})
	}
	cleansUp, cleanedUp := f.begin("cleanup", "worker", "--delete", "--yes")
	looksOn, _ := f.begin("status", "-w")
	<-began
	server := shared.Component(cluster.APIServer)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	outage(cleansUp)
	outage(looksOn)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Without a restart, they would detect their broken connections much later.
	for _, follower := range []string{cluster.ControllerManager, cluster.Kwok} {
		if err := shared.Component(follower).Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(end)
	if err := <-cleanedUp; err != nil || !strings.Contains(cleansUp.String(), "node/worker cleaned up and deleted") {
		t.Errorf("it ended with %v:\n%s", err, cleansUp)
	}
	if f.read("worker") != nil {
		t.Error("the node is still there")
	}
	f.eventually("status shows how things are again", func(context.Context) (bool, error) {
		return strings.Contains(looksOn.String(), "the API server is available again"), nil
	})
}

// begin runs a command until it ends, or the test does.
func (f *fixture) begin(arguments ...string) (out *growing, ended <-chan error) {
	return f.beginIn(f.Context(), arguments...)
}

// beginIn is begin with a context whose end simulates Ctrl-C.
func (f *fixture) beginIn(ctx context.Context, arguments ...string) (out *growing, ended <-chan error) {
	out, end := &growing{}, make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	f.Cleanup(cancel)
	go func() {
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: out, ErrOut: out}
		end <- cli.Execute(ctx, streams, append(arguments, "--kubeconfig", shared.Kubeconfig()))
	}()
	return out, end
}
