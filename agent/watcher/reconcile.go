package watcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Causes for which a run is interrupted.
var (
	errNodeGone = errors.New("the node is gone, or somebody took our finalizer off it")
	errBypassed = errors.New("an operator bypassed the cleanup")
	errDeadline = errors.New("the cleanup was not done within its deadline")
)

// invalidRetry is how long a Node is left alone whose every update the API
// server refuses: only a person can mend it.
const invalidRetry = 5 * time.Minute

// reconcile brings one Node on. It returns after how long to look again,
// 0 for when something changes.
func (t *term) reconcile(ctx context.Context, name string) (time.Duration, error) {
	node := t.node(name)
	var again time.Duration
	var err error
	switch {
	case node == nil:
		return 0, nil
	case node.DeletionTimestamp == nil:
		err = t.protect(ctx, node)
	case !api.HasFinalizer(node):
		t.runs.interrupt(node.UID, errNodeGone)
		err = t.settle(ctx, node)
	default:
		again, err = t.handle(ctx, node)
	}
	var invalid invalidError
	if errors.As(err, &invalid) {
		t.Log.Error("the API server refuses every update of this node until somebody mends it", "node", name, "err", err)
		t.Reporter.Node(node).NodeInvalid(invalid)
		return invalidRetry, nil
	}
	return again, err
}

// protect adds the finalizer to a Node that admission let through without it.
func (t *term) protect(ctx context.Context, node *corev1.Node) error {
	if !api.NeedsFinalizer(node) || !t.selected(node) {
		return nil
	}
	if err := t.addFinalizer(ctx, node); err != nil {
		return err
	}
	t.Metrics.FinalizerAdded()
	t.Log.Info("finalizer added to a node that lacked it", "node", node.Name, "uid", node.UID)
	return nil
}

func (t *term) selected(node *corev1.Node) bool {
	return t.Config().NodeSelector.Matches(labels.Set(node.Labels))
}

// settle looks at a terminating Node without our finalizer: either we released
// it and another finalizer holds it, or it was never protected. That is said once.
func (t *term) settle(ctx context.Context, node *corev1.Node) error {
	if _, known := t.settled.Load(node.UID); known || !t.selected(node) {
		return nil
	}
	record, _, err := t.Records.Load(ctx, node.Name, node.UID)
	if err != nil {
		return err
	}
	t.settled.Store(node.UID, struct{}{})
	if record != nil && !record.State.Released() {
		t.Log.Warn("somebody took our finalizer off before the cleanup was done", "node", node.Name, "uid", node.UID)
		t.Metrics.NodeUnprotected()
		t.Reporter.Node(node).FinalizerLost()
		return nil
	}
	if record != nil {
		t.Log.Info("node released, others still hold it", "node", node.Name, "uid", node.UID, "finalizers", node.Finalizers)
		return nil
	}
	t.Log.Warn("node was deleted before it had our finalizer, it gets no cleanup", "node", node.Name, "uid", node.UID)
	t.Metrics.NodeUnprotected()
	t.Reporter.Node(node).NodeUnprotected()
	return nil
}

// handle brings a terminating Node on that our finalizer holds.
func (t *term) handle(ctx context.Context, cached *corev1.Node) (time.Duration, error) {
	if t.runs.running(cached.UID) {
		if bypass, err := api.BypassOf(cached, t.Clock.Now()); err == nil && bypass.Active {
			t.runs.interrupt(cached.UID, errBypassed)
		}
		return 0, nil // The end of the run puts the Node in the queue again.
	}
	if err := t.Fence(); err != nil {
		return 0, err
	}
	node, err := t.Client.CoreV1().Nodes().Get(ctx, cached.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && (node.UID != cached.UID || !api.HasFinalizer(node)) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading node %s: %w", cached.Name, err)
	}
	c, err := t.open(ctx, node)
	if err != nil {
		return 0, err
	}
	return c.next(ctx)
}
