package guard_test

import (
	"context"
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

// gate holds up each list of Nodes until it is opened, and counts what is read.
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
func (f *fixture) gated(rules config.Guard) (*guard.Guard, *gate) {
	rules.Enabled, rules.OnReadError = true, config.Allow
	settings := &config.Config{NodeSelector: labels.Everything(), Guard: rules}
	g := &gate{reached: make(chan struct{}, 4*crowd), opened: make(chan struct{})}
	rest := f.agentREST()
	rest.QPS = -1
	rest.Wrap(func(next http.RoundTripper) http.RoundTripper { return gatedTransport{g, next} })
	return guard.New(guard.Options{
		Client: kubernetes.NewForConfigOrDie(rest), Metadata: metadata.NewForConfigOrDie(rest), Namespace: f.namespace,
		Config: func() *config.Config { return settings }, Events: record.NewFakeRecorder(4 * crowd), Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
	}), g
}

func (f *fixture) judge(by *guard.Guard, node *corev1.Node, within time.Duration) guard.Verdict {
	ctx, cancel := context.WithTimeout(f.Context(), within)
	defer cancel()
	return by.Judge(ctx, guard.Request{Node: node, User: "ed"})
}

// Who is not looked at in time because of others is refused: else enough deletions at once
// would let all of them through.
func TestTooManyAtOnceAreToldToTryAgain(t *testing.T) {
	f := setUp(t, "")
	by, gate := f.gated(config.Guard{MaxTerminating: config.Limit{Number: 1}, CriticalPods: []config.PodSelector{{Namespaces: []string{"db"}, Selector: labels.Everything()}}})
	one, two := f.node("one"), f.node("two")
	first := make(chan guard.Verdict)
	go func() { first <- f.judge(by, one, patience) }()
	<-gate.reached
	if verdict := f.judge(by, two, time.Second); verdict.Allowed || !verdict.Busy || len(verdict.Unread) > 0 || !strings.Contains(verdict.Message, "node two was not deleted: so many deletions") {
		t.Errorf("who waits too long is answered %+v", verdict)
	}
	close(gate.opened)
	if verdict := <-first; !verdict.Allowed || len(verdict.Warnings) > 0 {
		t.Errorf("who is looked at is answered %+v", verdict)
	}
	if verdict := f.judge(by, two, patience); verdict.Allowed || verdict.Busy || !strings.Contains(verdict.Message, "1 other node terminates already") {
		t.Errorf("who tries again is answered %+v", verdict)
	}
}

// An API server that does not answer is another thing.
func TestWhoIsAloneAndCannotReadGoesByTheConfig(t *testing.T) {
	f := setUp(t, "")
	by, _ := f.gated(config.Guard{MaxTerminating: config.Limit{Number: 1}})
	if verdict := f.judge(by, f.node("one"), time.Second); !verdict.Allowed || verdict.Busy || len(verdict.Unread) != 1 {
		t.Errorf("the answer is %+v", verdict)
	}
}

func TestOneReadServesAllThatWait(t *testing.T) {
	f := setUp(t, "")
	by, gate := f.gated(config.Guard{MaxTerminating: config.Limit{Number: 3}, LastSchedulable: config.Refuse})
	nodes := f.crowd()
	var group sync.WaitGroup
	var allowed atomic.Int32
	for _, node := range nodes {
		group.Go(func() {
			if verdict := f.judge(by, node, patience); verdict.Allowed {
				allowed.Add(1)
			}
		})
	}
	f.eventually("all have asked", func(context.Context) (bool, error) { return gate.gets.Load() == crowd, nil })
	close(gate.opened)
	group.Wait()
	if allowed.Load() != 3 {
		t.Errorf("%d were allowed", allowed.Load())
	}
	if lists := gate.lists.Load(); lists > crowd {
		t.Errorf("nodes were listed %d times for %d deletions of two rules each", lists, crowd)
	}
}

// The API server asks again when it was noted who deletes the Node.
func TestTheSecondQuestionAboutADeletionIsNotDecidedAnew(t *testing.T) {
	f := setUp(t, "")
	by, gate := f.gated(config.Guard{MaxTerminating: config.Limit{Number: 1}})
	close(gate.opened)
	node := f.node("worker")
	if verdict := f.judge(by, node, patience); !verdict.Allowed {
		t.Fatalf("the answer is %+v", verdict)
	}
	before := gate.lists.Load()
	noted := f.read(node)
	if noted.Annotations[api.AnnotationDeletionRequestedBy] != "ed" {
		t.Fatalf("nobody is noted: %v", noted.Annotations)
	}
	if verdict := f.judge(by, noted, patience); !verdict.Allowed || gate.lists.Load() != before {
		t.Errorf("the answer is %+v, after %d lists", verdict, gate.lists.Load()-before)
	}
	for what, change := range map[string]func(*corev1.Node, *guard.Request){
		"somebody else": func(_ *corev1.Node, request *guard.Request) { request.User = "eve" },
		"it was long ago": func(node *corev1.Node, _ *guard.Request) {
			node.Annotations[api.AnnotationDeletionRequestedAt] = "2026-01-01T00:00:00Z"
		},
		"it was protected": func(node *corev1.Node, _ *guard.Request) { node.Annotations[api.AnnotationProtect] = "true" },
	} {
		before, node := gate.lists.Load(), noted.DeepCopy()
		request := guard.Request{Node: node, User: "ed", DryRun: true}
		change(node, &request)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		verdict := by.Judge(ctx, request)
		cancel()
		if verdict.Allowed && gate.lists.Load() == before {
			t.Errorf("%s: the answer is %+v without a look", what, verdict)
		}
	}
}
