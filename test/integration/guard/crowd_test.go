package guard_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

const crowd = 16

// all calls something for each Node at the same time.
func all(nodes []*corev1.Node, do func(i int, node *corev1.Node)) {
	var group sync.WaitGroup
	for i, node := range nodes {
		group.Go(func() { do(i, node) })
	}
	group.Wait()
}

func (f *fixture) crowd() []*corev1.Node {
	f.Helper()
	nodes := make([]*corev1.Node, crowd)
	for i := range nodes {
		nodes[i] = f.node(fmt.Sprintf("worker-%d", i))
	}
	return nodes
}

func (f *fixture) terminating(nodes []*corev1.Node) (terminating int) {
	f.Helper()
	for _, node := range nodes {
		if current := f.read(node); current == nil || current.DeletionTimestamp != nil {
			terminating++
		}
	}
	return terminating
}

func TestConcurrentDeletionsKeepTheLimit(t *testing.T) {
	f := setUp(t, "guard: {maxTerminating: 3, onReadError: refuse}\n")
	nodes := f.crowd()
	var mutex sync.Mutex
	allowed := 0
	all(nodes, func(_ int, node *corev1.Node) {
		err := f.delete(f.admin, node)
		if err != nil && !apierrors.IsForbidden(err) {
			t.Errorf("node %s: %v", node.Name, err)
		}
		mutex.Lock()
		defer mutex.Unlock()
		if err == nil {
			allowed++
		}
	})
	if terminating := f.terminating(nodes); allowed != 3 || terminating != 3 {
		t.Errorf("%d deletions were allowed, %d nodes terminate", allowed, terminating)
	}
}

func TestConcurrentDeletionsLeaveOneNodeThatTakesPods(t *testing.T) {
	f := setUp(t, "guard: {lastSchedulable: refuse, onReadError: refuse}\n")
	nodes := f.crowd()
	all(nodes, func(_ int, node *corev1.Node) {
		if err := f.delete(f.admin, node); err != nil && !apierrors.IsForbidden(err) {
			t.Errorf("node %s: %v", node.Name, err)
		}
	})
	if terminating := f.terminating(nodes); terminating != crowd-1 {
		t.Errorf("%d nodes of %d terminate", terminating, crowd)
	}
}

// Two agents, of which each knows the other's answers by the API server alone.
func TestTwoAgentsKeepOneLimit(t *testing.T) {
	f := setUp(t, "")
	nodes := f.crowd()
	var agents []*guard.Guard
	settings := &config.Config{NodeSelector: labels.Everything(), Guard: config.Guard{Enabled: true, MaxTerminating: config.Limit{Number: 3}, OnReadError: config.Refuse}}
	for range 2 {
		agents = append(agents, guard.New(guard.Options{
			Client: kubernetes.NewForConfigOrDie(f.agentREST()), Metadata: metadata.NewForConfigOrDie(f.agentREST()), Namespace: f.namespace,
			Config: func() *config.Config { return settings }, Events: record.NewFakeRecorder(4 * crowd), Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
		}))
	}
	var mutex sync.Mutex
	var allowed []*corev1.Node
	ask := func(i int, node *corev1.Node) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		verdict := agents[i%2].Judge(ctx, guard.Request{Node: node, User: "ed"})
		if len(verdict.Unread) > 0 {
			t.Errorf("node %s: %v", node.Name, verdict.Unread)
		}
		mutex.Lock()
		defer mutex.Unlock()
		if verdict.Allowed {
			allowed = append(allowed, node)
		}
	}
	// Nothing is deleted yet: what was allowed counts all the same.
	all(nodes, ask)
	if len(allowed) != 3 {
		t.Fatalf("%d deletions were allowed", len(allowed))
	}
	first := allowed
	for _, node := range first {
		if err := f.admin.CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// And it counts once, now that it is deleted.
	f.free(first[0])
	allowed = nil
	all(nodes, func(i int, node *corev1.Node) {
		if current := f.read(node); current != nil && current.DeletionTimestamp == nil {
			ask(i, current)
		}
	})
	if len(allowed) != 1 {
		t.Errorf("with one of three gone %d deletions were allowed", len(allowed))
	}
}
