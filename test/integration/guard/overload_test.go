package guard_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// gate blocks each list of Nodes until it is opened, and counts the reads.
type gate struct {
	reached, opened chan struct{}
	lists, gets     atomic.Int32
}

type gatedTransport struct {
	*gate
	next http.RoundTripper
}

func (g gatedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	switch {
	case request.Method == http.MethodGet && request.URL.Path == "/api/v1/nodes":
		g.lists.Add(1)
		g.reached <- struct{}{}
		select {
		case <-g.opened:
		case <-request.Context().Done():
			return nil, context.Cause(request.Context())
		}
	case request.Method == http.MethodGet && strings.HasPrefix(request.URL.Path, "/api/v1/nodes/"):
		g.gets.Add(1)
	}
	return g.next.RoundTrip(request)
}

// gated is a guard behind a gate. Where something cannot be read it allows, as by default.
func (f *fixture) gated(rules config.DeleteGuard) (*guard.Guard, *gate) {
	rules.Enabled, rules.OnReadError = true, config.Allow
	settings := &config.Config{NodeSelector: labels.Everything(), Guard: rules}
	g := &gate{reached: make(chan struct{}, 4*bulkSize), opened: make(chan struct{})}
	rest := f.agentREST()
	rest.QPS = -1
	rest.Wrap(func(next http.RoundTripper) http.RoundTripper { return gatedTransport{g, next} })
	return guard.New(guard.Options{
		Client: kubernetes.NewForConfigOrDie(rest), Metadata: metadata.NewForConfigOrDie(rest), Namespace: f.namespace,
		Config: func() *config.Config { return settings }, Events: record.NewFakeRecorder(4 * bulkSize), Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
	}), g
}

func (f *fixture) evaluate(by *guard.Guard, node *corev1.Node, within time.Duration) guard.Verdict {
	ctx, cancel := context.WithTimeout(f.Context(), within)
	defer cancel()
	return by.Evaluate(ctx, guard.Request{Name: node.Name, UID: node.UID, User: "ed"})
}

// A deletion that cannot be reviewed in time because of other requests is denied. Otherwise enough
// concurrent deletions would all be allowed.
func TestTooManyConcurrentDeletionsGetARetryableAnswer(t *testing.T) {
	f := setUp(t, "")
	by, gate := f.gated(config.DeleteGuard{MaxTerminating: config.Limit{Number: 1}, CriticalPods: []config.PodSelector{{Namespaces: []string{"db"}, Selector: labels.Everything()}}})
	one, two := f.node("one"), f.node("two")
	first := make(chan guard.Verdict)
	go func() { first <- f.evaluate(by, one, testTimeout) }()
	<-gate.reached
	if verdict := f.evaluate(by, two, time.Second); verdict.Allowed || !verdict.Busy || len(verdict.Unread) > 0 || !strings.Contains(verdict.Message, "node two was not deleted: too many node deletions at once; retry with fewer") {
		t.Errorf("who waits too long is answered %+v", verdict)
	}
	close(gate.opened)
	if verdict := <-first; !verdict.Allowed || len(verdict.Warnings) > 0 {
		t.Errorf("who is looked at is answered %+v", verdict)
	}
	if verdict := f.evaluate(by, two, testTimeout); verdict.Allowed || verdict.Busy || !strings.Contains(verdict.Message, "1 other node is terminating") {
		t.Errorf("who tries again is answered %+v", verdict)
	}
}

// An API server that does not answer is another thing.
func TestReadErrorOfASingleDeletionFollowsOnReadError(t *testing.T) {
	f := setUp(t, "")
	by, _ := f.gated(config.DeleteGuard{MaxTerminating: config.Limit{Number: 1}})
	if verdict := f.evaluate(by, f.node("one"), time.Second); !verdict.Allowed || verdict.Busy || len(verdict.Unread) != 1 {
		t.Errorf("the answer is %+v", verdict)
	}
}

func TestConcurrentReviewsShareOneRead(t *testing.T) {
	f := setUp(t, "")
	by, gate := f.gated(config.DeleteGuard{MaxTerminating: config.Limit{Number: 3}, LastSchedulable: config.Refuse})
	nodes := f.bulkNodes()
	var group sync.WaitGroup
	var allowed atomic.Int32
	for _, node := range nodes {
		group.Go(func() {
			if verdict := f.evaluate(by, node, testTimeout); verdict.Allowed {
				allowed.Add(1)
			}
		})
	}
	f.eventually("all have asked", func(context.Context) (bool, error) { return gate.gets.Load() == bulkSize, nil })
	close(gate.opened)
	group.Wait()
	if allowed.Load() != 3 {
		t.Errorf("%d were allowed", allowed.Load())
	}
	if lists := gate.lists.Load(); lists > bulkSize {
		t.Errorf("nodes were listed %d times for %d deletions of two rules each", lists, bulkSize)
	}
}

// The API server asks again if the Node changed while it was deleting it.
func TestSecondReviewOfADeletionListsNoNodes(t *testing.T) {
	f := setUp(t, "")
	by, gate := f.gated(config.DeleteGuard{MaxTerminating: config.Limit{Number: 1}})
	close(gate.opened)
	node := f.node("worker")
	if verdict := f.evaluate(by, node, testTimeout); !verdict.Allowed {
		t.Fatalf("the answer is %+v", verdict)
	}
	before := gate.lists.Load()
	if verdict := f.evaluate(by, node, testTimeout); !verdict.Allowed || gate.lists.Load() != before {
		t.Errorf("the answer is %+v, after %d lists", verdict, gate.lists.Load()-before)
	}
	request := guard.Request{Name: node.Name, UID: node.UID, User: "eve", DryRun: true}
	if verdict := by.Evaluate(t.Context(), request); gate.lists.Load() == before {
		t.Errorf("another user is answered %+v without a list", verdict)
	}
	// The rules that need no list are evaluated each time, on the current Node.
	f.patch(node, fmt.Sprintf(`{"metadata":{"annotations":{%q:"true"}}}`, api.AnnotationProtect))
	if verdict := f.evaluate(by, node, testTimeout); verdict.Allowed {
		t.Errorf("a node that was protected in the meantime is answered %+v", verdict)
	}
}
