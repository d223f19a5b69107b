package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/test/bench/internal/measure"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const namespace = "bench"

// bench is a cluster, and the tools that are measured on it.
type bench struct {
	cluster *cluster.Cluster
	client  kubernetes.Interface
	tools   []tool
}

// tool drains Nodes.
type tool struct {
	name string
	// start prepares a long-running program before the measured drain. It returns a function that
	// drains Nodes, and one that ends the program.
	start func(ctx context.Context) (drain func(context.Context, []*corev1.Node) error, stop func() error, err error)
}

// sample is the measurement of one drain.
type sample struct {
	took      time.Duration
	evictions int
	refused   int
	reads     int
	// notEvicted counts the Pods that were not evicted within drainTimeout.
	notEvicted int
	// cpu is the CPU time that the API server has used.
	cpu time.Duration
}

// drainTimeout limits one drain. kubectl needs two minutes for twenty Nodes. Karpenter 1.14
// may never end: it requests 100 evictions at once, and drops a Pod for which the API server gives
// up after 20 conflicts at the budget (409), while it remembers that the Pod is in its queue.
const drainTimeout = 3 * time.Minute

// idleTime is the CPU time per second up to which the API server counts as idle.
const idleTime = 150 * time.Millisecond

func newBench(ctx context.Context, c *cluster.Cluster) (*bench, error) {
	b := &bench{cluster: c}
	var err error
	if b.client, err = kubernetes.NewForConfig(c.RESTConfig()); err != nil {
		return nil, err
	}
	if _, err := b.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	if err := until(ctx, "the namespace has its service account", func(ctx context.Context) (bool, error) {
		accounts, err := b.client.CoreV1().ServiceAccounts(namespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(accounts.Items) > 0, err
	}); err != nil {
		return nil, err
	}
	if b.tools, err = b.newTools(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// measure drains new Nodes with a tool.
func (b *bench) measure(ctx context.Context, s scenario, by tool, prefix string) (t sample, err error) {
	nodes, err := b.place(ctx, s, prefix)
	if err != nil {
		return t, fmt.Errorf("placing pods: %w", err)
	}
	others, err := b.receive(ctx, prefix)
	if err != nil {
		return t, err
	}
	drain, stop, err := by.start(ctx)
	if err != nil {
		return t, fmt.Errorf("starting: %w", err)
	}
	stop = sync.OnceValue(stop)
	defer func() {
		if stopErr := stop(); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("stopping: %w", stopErr))
		}
	}()
	if err := b.idle(ctx); err != nil {
		return t, err
	}
	mark, err := b.cluster.AuditMark()
	if err != nil {
		return t, err
	}
	server := b.cluster.Component(cluster.APIServer).PID()
	spent, began := measure.ProcessorTime(server), time.Now()
	limited, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	err = drain(limited, nodes)
	t.took = time.Since(began)
	t.cpu = measure.ProcessorTime(server) - spent
	if err != nil && limited.Err() == nil {
		return t, err
	}
	if stop() != nil {
		return t, nil // The deferred call returns the error.
	}
	if err := b.count(&t, mark, by); err != nil {
		return t, err
	}
	var remaining error
	if t.notEvicted, remaining = b.remaining(ctx, nodes); remaining != nil {
		return t, remaining
	}
	if err == nil && t.notEvicted > 0 {
		return t, fmt.Errorf("draining with %s: it reported success, but %d pods remain", by.name, t.notEvicted)
	}
	return t, b.clear(ctx, append(nodes, others...))
}

// idle waits until the API server has little to do. After hundreds of Pods were made or deleted,
// the controllers write for seconds, which would slow down the first tool.
func (b *bench) idle(ctx context.Context) error {
	server := b.cluster.Component(cluster.APIServer).PID()
	before := measure.ProcessorTime(server)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	limited, cancel := context.WithTimeout(ctx, wanted)
	defer cancel()
	for {
		select {
		case <-limited.Done():
			return fmt.Errorf("waiting until the API server is idle: %w", context.Cause(limited))
		case <-ticker.C:
		}
		now := measure.ProcessorTime(server)
		if now-before <= idleTime {
			return nil
		}
		before = now
	}
}

// count adds the requests of a tool since the mark.
func (b *bench) count(t *sample, mark cluster.AuditMark, by tool) error {
	events, err := b.cluster.AuditSince(mark)
	if err != nil {
		return err
	}
	for _, event := range events {
		switch {
		case event.User != by.name:
		case event.Verb == "watch":
			if event.Stage == "ResponseStarted" {
				t.reads++
			}
		case event.Stage != "ResponseComplete":
		case event.Subresource == "eviction":
			t.evictions++
			if event.Code >= 400 {
				t.refused++
			}
		case event.Verb == "get" || event.Verb == "list":
			t.reads++
		}
	}
	return nil
}

// remaining returns how many Pods the Nodes have.
func (b *bench) remaining(ctx context.Context, nodes []*corev1.Node) (int, error) {
	count := 0
	for _, node := range nodes {
		pods, err := b.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: onNode(node.Name)})
		if err != nil {
			return 0, err
		}
		count += len(pods.Items)
	}
	return count, nil
}

func onNode(name string) string { return fields.OneTermEqualSelector("spec.nodeName", name).String() }
