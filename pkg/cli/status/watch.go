package status

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/inspect"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

const (
	// settle is how long changes are gathered before they are shown.
	settle = 250 * time.Millisecond
	// readAgentEvery is how often the agent itself is read.
	readAgentEvery = 2 * time.Second
)

// live shows each change.
type live struct {
	client    kubernetes.Interface
	namespace string
	now       func() time.Time
	show      func(*printer.Status) error
	report    func(line string)
}

// run shows the state until ctx ends or the API server refuses a request.
func (l *live) run(ctx context.Context) error {
	follower := inspect.Live{
		Client: l.client, Namespace: l.namespace, Now: l.now, Trim: inspect.Trim,
		Watcher: cluster.Watcher{Report: l.report, Settle: settle, Recheck: readAgentEvery},
	}
	return follower.Run(ctx, func(snapshot *inspect.Snapshot, _ []*corev1.Node) error {
		return l.show(inspect.Assess(snapshot, version.Version, l.now()))
	})
}
