package agent_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// After an interrupted watch, the agent lists the current objects and misses the changes in
// between.
func TestReplacedNodeInterruptsTheOldRun(t *testing.T) {
	f := setUp(t, "steps:\n- {name: hang, plugin: probe}\n")
	began, ended := make(chan struct{}), make(chan struct{})
	f.probes[""] = func(ctx context.Context, _ cleanup.Target) error {
		close(began)
		<-ctx.Done() // The agent learns that the node is deleted.
		close(ended)
		return ctx.Err()
	}
	proxy := f.between()
	f.start(f.through(proxy))
	old := f.protected("worker")
	f.delete(old)
	<-began
	var cut atomic.Bool
	cut.Store(true)
	proxy.put(func(request *http.Request) bool {
		return cut.Load() && strings.HasSuffix(request.URL.Path, "/nodes") && request.Method == http.MethodGet
	}, nil)
	proxy.CloseClientConnections()
	if _, err := f.client.CoreV1().Nodes().Patch(t.Context(), old.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.awaitDeleted(old)
	again := f.protected("worker")
	cut.Store(false)
	f.eventually("the step of the node that is deleted is cancelled", func(context.Context) (bool, error) {
		select {
		case <-ended:
			return true, nil
		default:
			return false, nil
		}
	})
	f.eventually("the old run has ended", func(context.Context) (bool, error) { return f.record(old).State == api.Failed, nil })
	if current := f.read(again); current == nil || !api.HasFinalizer(current) {
		t.Errorf("the new node is %+v", current)
	}
}
