package inspect

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// Live follows an install, its nodes and its run records by watches.
type Live struct {
	Client    kubernetes.Interface
	Namespace string
	// Now is the API server's time.
	Now func() time.Time
	// Trim removes the fields of a node that are not shown.
	Trim func(*corev1.Node) *corev1.Node
	// Watcher says how often changes are shown. Its Recheck is how often the agent itself is read: its Lease changes all the
	// time, and a watch of it would report nothing else.
	Watcher cluster.Watcher
}

// Run shows the state, and each change, until ctx ends, the API server refuses a request, or show returns an error. Nothing
// is shown before nodes and run records are complete.
func (l Live) Run(ctx context.Context, show func(snapshot *Snapshot, nodes []*corev1.Node) error) error {
	nodes := cluster.Nodes(l.Client, metav1.ListOptions{})
	nodes.Trim, nodes.Matters = l.Trim, matters
	records := cluster.ConfigMaps(l.Client, l.Namespace, "run records in namespace "+l.Namespace, metav1.ListOptions{LabelSelector: cluster.RunSelector})
	reader := NewReader(l.Client, l.Namespace, l.Now)
	return l.Watcher.Until(ctx, func(ctx context.Context) (bool, error) {
		snapshot, err := reader.Agent(ctx)
		if err != nil {
			return false, err
		}
		all := nodes.All()
		snapshot.SetNodes(all, records.Named)
		snapshot.ReadSelector(ctx, l.Client)
		return false, show(snapshot, all)
	}, nodes, records)
}

// matters reports whether a change of a node shows: most are heartbeats.
func matters(before, after *corev1.Node) bool {
	return before.UID != after.UID || before.Spec.Unschedulable != after.Spec.Unschedulable || api.HasFinalizer(before) != api.HasFinalizer(after) ||
		IsLeaving(before) || IsLeaving(after) ||
		!maps.Equal(before.Annotations, after.Annotations) || // Trim keeps only the annotations of a bypass.
		!maps.Equal(before.Labels, after.Labels) // It keeps those of a node without the finalizer.
}
