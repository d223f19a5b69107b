package agent_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

const backfilled = "node_cleanup_finalizers_backfilled_total "

func TestNodeMissedByAdmissionGetsTheFinalizer(t *testing.T) {
	f := setUp(t, logOnly)
	options, _ := f.logged()
	f.start(options) // Its webhook is not served; the API server ignores that.
	f.eventually("the agent leads", func(ctx context.Context) (bool, error) {
		status, err := f.status(ctx)
		return status != nil, err
	})
	mark := f.mark()
	node := f.create("worker")
	f.eventually("the node has the finalizer", func(context.Context) (bool, error) { return api.HasFinalizer(f.read(node)), nil })
	requests, err := shared.AuditSince(mark)
	if err != nil {
		t.Fatal(err)
	}
	user, _ := f.user()
	var created, patched time.Time
	for _, request := range requests {
		switch {
		case request.Resource != "nodes" || request.Name != node.Name:
		case request.Verb == "create":
			created = request.At
		case request.Verb == "patch" && request.User == user:
			patched = request.At
		}
	}
	if took := patched.Sub(created); created.IsZero() || patched.IsZero() || took > 5*time.Second {
		t.Errorf("created at %s, patched at %s: after %s, want at most 5s", created, patched, took)
	}
	f.eventually("it is counted", func(context.Context) (bool, error) {
		return f.metric(options.MetricsListen, backfilled) == backfilled+"1", nil
	})
}

func TestNodeDeletedBeforeTheFinalizerIsNotCounted(t *testing.T) {
	f := setUp(t, logOnly)
	proxy := f.between()
	options, log := f.logged()
	options.REST = f.through(proxy).REST
	f.start(options)
	deleted := make(chan error, 1)
	proxy.put(func(request *http.Request) bool {
		if request.Method == http.MethodPatch && strings.HasSuffix(request.URL.Path, "/nodes/gone") {
			deleted <- f.client.CoreV1().Nodes().Delete(request.Context(), "gone", metav1.DeleteOptions{})
		}
		return false
	}, nil)
	f.create("gone")
	if err := <-deleted; err != nil {
		t.Fatal(err)
	}
	f.create("worker")
	f.awaitLog(log, "finalizer added to a node that lacked it\" node=worker")
	if counted := f.metric(options.MetricsListen, backfilled); counted != backfilled+"1" || strings.Contains(log.String(), "lacked it\" node=gone") {
		t.Errorf("the metrics say %q, the log\n%s", counted, log.String())
	}
}
