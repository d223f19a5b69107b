package status

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

const (
	// settle is how long changes are gathered before they are shown.
	settle = 250 * time.Millisecond
	// readAgentEvery is how often the agent itself is read: its Lease changes all the time,
	// and a watch of it would report nothing else.
	readAgentEvery = 2 * time.Second
)

// live follows the cluster by watches and shows each change.
type live struct {
	client    kubernetes.Interface
	namespace string
	now       func() time.Time
	show      func(*printer.Status) error
	report    func(line string)
}

// run shows the state until ctx ends or the API server refuses a request. Nothing is shown
// before nodes and run records are complete.
func (l *live) run(ctx context.Context) error {
	nodes := cluster.Nodes(l.client, metav1.ListOptions{})
	nodes.Trim, nodes.Matters = inspect.Trim, matters
	records := cluster.ConfigMaps(l.client, l.namespace, "run records in namespace "+l.namespace, metav1.ListOptions{LabelSelector: cluster.RunSelector})
	reader := inspect.NewReader(l.client, l.namespace, l.now)
	watcher := cluster.Watcher{Report: l.report, Settle: settle, Recheck: readAgentEvery}
	return watcher.Until(ctx, func(ctx context.Context) (bool, error) {
		snapshot, err := reader.Agent(ctx)
		if err != nil {
			return false, err
		}
		snapshot.SetNodes(nodes.All(), records.Named)
		snapshot.ReadSelector(ctx, l.client)
		return false, l.show(inspect.Assess(snapshot, version.Version, l.now()))
	}, nodes, records)
}

// matters reports whether a change of a node shows: most are heartbeats.
func matters(before, after *corev1.Node) bool {
	return before.UID != after.UID || api.HasFinalizer(before) != api.HasFinalizer(after) || inspect.IsLeaving(before) || inspect.IsLeaving(after) ||
		!maps.Equal(before.Annotations, after.Annotations) || // inspect.Trim keeps only the annotations of a bypass.
		!maps.Equal(before.Labels, after.Labels) // It keeps those of a node without the finalizer.
}
