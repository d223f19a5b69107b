package guard_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

const bulkSize = 16

// all calls something for each Node at the same time.
func all(nodes []*corev1.Node, do func(i int, node *corev1.Node)) {
	var group sync.WaitGroup
	for i, node := range nodes {
		group.Go(func() { do(i, node) })
	}
	group.Wait()
}

func (f *fixture) bulkNodes() []*corev1.Node {
	f.Helper()
	nodes := make([]*corev1.Node, bulkSize)
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

// refusal reports whether the guard refused, be it for now.
func refusal(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsTooManyRequests(err) }

func TestConcurrentDeletionsKeepTheLimit(t *testing.T) {
	f := setUp(t, "guard: {maxTerminating: 3}\n")
	nodes := f.bulkNodes()
	var mutex sync.Mutex
	allowed := 0
	all(nodes, func(_ int, node *corev1.Node) {
		err := f.delete(f.admin, node)
		if err != nil && !refusal(err) {
			t.Errorf("node %s: %v", node.Name, err)
		}
		mutex.Lock()
		defer mutex.Unlock()
		if err == nil {
			allowed++
		}
	})
	if terminating := f.terminating(nodes); allowed != terminating || terminating > 3 {
		t.Errorf("%d deletions were allowed, %d nodes terminate", allowed, terminating)
	}
	f.oneByOne(nodes)
	if terminating := f.terminating(nodes); terminating != 3 {
		t.Errorf("%d nodes terminate", terminating)
	}
}

func TestConcurrentDeletionsLeaveOneSchedulableNode(t *testing.T) {
	f := setUp(t, "guard: {lastSchedulable: refuse}\n")
	nodes := f.bulkNodes()
	all(nodes, func(_ int, node *corev1.Node) {
		if err := f.delete(f.admin, node); err != nil && !refusal(err) {
			t.Errorf("node %s: %v", node.Name, err)
		}
	})
	if terminating := f.terminating(nodes); terminating >= bulkSize {
		t.Errorf("all of %d nodes terminate", terminating)
	}
	f.oneByOne(nodes)
	if terminating := f.terminating(nodes); terminating != bulkSize-1 {
		t.Errorf("%d nodes of %d terminate", terminating, bulkSize)
	}
}

// oneByOne deletes the nodes that remain after a bulk deletion: on a busy machine, some deletions
// are denied only because the guard had no time to review them.
func (f *fixture) oneByOne(nodes []*corev1.Node) {
	f.Helper()
	for _, node := range nodes {
		if current := f.read(node); current == nil || current.DeletionTimestamp != nil {
			continue
		}
		if err := f.delete(f.admin, node); err != nil && !apierrors.IsForbidden(err) {
			f.Errorf("node %s: %v", node.Name, err)
		}
	}
}

// agents are two agents that share their decisions only through the API server.
type agents struct {
	*fixture
	each [2]*guard.Guard
}

func (f *fixture) agents(rules config.DeleteGuard) agents {
	rules.Enabled, rules.OnReadError = true, config.Refuse
	settings := &config.Config{NodeSelector: labels.Everything(), Guard: rules}
	a := agents{fixture: f}
	for i := range a.each {
		a.each[i] = guard.New(guard.Options{
			Client: kubernetes.NewForConfigOrDie(f.agentREST()), Metadata: metadata.NewForConfigOrDie(f.agentREST()), Namespace: f.namespace,
			Config: func() *config.Config { return settings }, Events: record.NewFakeRecorder(4 * bulkSize), Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
		})
	}
	return a
}

// ask asks about all Nodes at the same time, and returns those that may be deleted.
func (a agents) ask(nodes []*corev1.Node) (allowed []*corev1.Node) {
	a.Helper()
	var mutex sync.Mutex
	all(nodes, func(i int, node *corev1.Node) {
		ctx, cancel := context.WithTimeout(a.Context(), testTimeout)
		defer cancel()
		verdict := a.each[i%2].Evaluate(ctx, guard.Request{Name: node.Name, UID: node.UID, User: "ed"})
		if len(verdict.Unread) > 0 {
			a.Errorf("node %s: %v", node.Name, verdict.Unread)
		}
		mutex.Lock()
		defer mutex.Unlock()
		if verdict.Allowed {
			allowed = append(allowed, node)
		}
	})
	return allowed
}

func TestTwoAgentsKeepOneLimit(t *testing.T) {
	f := setUp(t, "")
	nodes, agents := f.bulkNodes(), f.agents(config.DeleteGuard{MaxTerminating: config.Limit{Number: 3}})
	// No Node is deleted yet, but allowed deletions count.
	allowed := agents.ask(nodes)
	if len(allowed) != 3 {
		t.Fatalf("%d deletions were allowed", len(allowed))
	}
	for _, node := range allowed {
		f.allowed(f.delete(f.admin, node), node)
	}
	// And it counts once, now that it is deleted.
	f.free(allowed[0])
	var left []*corev1.Node
	for _, node := range nodes {
		if current := f.read(node); current != nil && current.DeletionTimestamp == nil {
			left = append(left, current)
		}
	}
	if more := agents.ask(left); len(more) != 1 {
		t.Errorf("with one of three deleted %d deletions were allowed", len(more))
	}
}

func TestTwoAgentsLeaveOneSchedulableNode(t *testing.T) {
	f := setUp(t, "")
	nodes, agents := f.bulkNodes(), f.agents(config.DeleteGuard{LastSchedulable: config.Refuse})
	if allowed := agents.ask(nodes); len(allowed) != bulkSize-1 {
		t.Errorf("of %d nodes %d may be deleted", bulkSize, len(allowed))
	}
}
