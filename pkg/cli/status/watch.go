package status

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/patience"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

const (
	// settle is how long to gather changes before they are shown: a watch begins
	// with one event for each node there is.
	settle = 250 * time.Millisecond
	// lookAgain is how often the agent itself is looked at: its lease changes all
	// the time, and a watch of it would say nothing else.
	lookAgain = 2 * time.Second
)

// live follows the cluster by watches and shows each change.
type live struct {
	client    kubernetes.Interface
	namespace string
	now       func() time.Time
	reader    *inspect.Reader
	show      func(*printer.Status) error
	// wait says so while nothing can be shown.
	wait patience.Wait

	// known are the nodes by name; of those that are not leaving only whether
	// they are protected is kept.
	known map[string]*corev1.Node
	// records by name.
	records map[string]*corev1.ConfigMap
}

// run shows the state until ctx ends or a watch is refused.
func (l *live) run(ctx context.Context) error {
	for {
		// Without an error a watch has ended, as they do.
		if err := l.wait.Try(ctx, l.round(ctx)); err != nil {
			return err
		}
	}
}

func (l *live) round(ctx context.Context) error {
	l.known, l.records = map[string]*corev1.Node{}, map[string]*corev1.ConfigMap{}
	// Without a resource version a watch begins with what there is.
	nodes, err := l.client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	defer nodes.Stop()
	records, err := l.client.CoreV1().ConfigMaps(l.namespace).Watch(ctx, metav1.ListOptions{LabelSelector: cluster.RunSelector})
	if err != nil {
		return fmt.Errorf("watching the run records in namespace %s: %w", l.namespace, err)
	}
	defer records.Stop()
	return l.loop(ctx, nodes.ResultChan(), records.ResultChan(), func() error { return l.draw(ctx) })
}

// loop gathers changes and draws them, until a watch ends, which is no error.
func (l *live) loop(ctx context.Context, nodes, records <-chan watch.Event, draw func() error) error {
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	due := time.NewTimer(settle)
	defer due.Stop()
	// A change that comes while one is due does not put it off: where something changes all
	// the time, nothing would ever be shown.
	pending := true
	for {
		changed, open := false, true
		var event watch.Event
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, open = <-nodes:
			changed = l.node(event)
		case event, open = <-records:
			changed = l.record(event)
		case <-again.C:
			changed = true
		case <-due.C:
			pending = false
			if err := draw(); err != nil {
				return err
			}
		}
		if !open || event.Type == watch.Error {
			return nil
		}
		if changed && !pending {
			pending = true
			due.Reset(settle)
		}
	}
}

// node notes a change of a node, and reports whether it is one to show.
func (l *live) node(event watch.Event) bool {
	node, is := event.Object.(*corev1.Node)
	if !is {
		return false
	}
	before := l.known[node.Name]
	if event.Type == watch.Deleted {
		delete(l.known, node.Name)
		return true
	}
	after := inspect.Trim(node)
	l.known[node.Name] = after
	return before == nil || api.HasFinalizer(before) != api.HasFinalizer(after) || inspect.IsLeaving(before) || inspect.IsLeaving(after)
}

func (l *live) record(event watch.Event) bool {
	configMap, is := event.Object.(*corev1.ConfigMap)
	if !is {
		return false
	}
	if event.Type == watch.Deleted {
		delete(l.records, configMap.Name)
	} else {
		l.records[configMap.Name] = configMap
	}
	return true
}

func (l *live) draw(ctx context.Context) error {
	seen, err := l.reader.Agent(ctx)
	if err != nil {
		return err
	}
	l.wait.Answered()
	seen.SetNodes(l.known, l.records)
	return l.show(inspect.Assess(seen, version.Version, l.now()))
}
