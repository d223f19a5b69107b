package watcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Causes for which a run is interrupted.
var (
	errNodeGone  = errors.New("the node is gone, or somebody took our finalizer off it")
	errBypassed  = errors.New("an operator bypassed the cleanup")
	errDeadline  = errors.New("the cleanup was not done within its deadline")
	errWithdrawn = errors.New("the request for this cleanup was withdrawn")
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
	case node.DeletionTimestamp == nil && t.concerned(node):
		again, err = t.onRequest(ctx, node)
	case node.DeletionTimestamp == nil:
		err = t.protect(ctx, node)
	case !api.HasFinalizer(node):
		t.runs.interrupt(node.UID, errNodeGone)
		err = t.settle(ctx, node)
	default:
		again, err = t.onDeletion(ctx, node)
	}
	var invalid invalidError
	if errors.As(err, &invalid) {
		t.Log.Error("the API server refuses every update of this node until somebody mends it", "node", name, "err", err)
		t.Reporter.About(node).NodeInvalid(invalid)
		return invalidRetry, nil
	}
	return again, err
}

// protect adds the finalizer to a Node that admission let through without it.
func (t *term) protect(ctx context.Context, node *nodeMeta) error {
	if !api.NeedsFinalizer(node) || !t.selected(node) {
		return nil
	}
	if added, err := t.addFinalizer(ctx, node); err != nil || !added {
		return err
	}
	t.Metrics.FinalizerAdded()
	t.Log.Info("finalizer added to a node that lacked it", "node", node.Name, "uid", node.UID)
	return nil
}

func (t *term) selected(node metav1.Object) bool {
	return t.Config().NodeSelector.Matches(labels.Set(node.GetLabels()))
}

// settle looks at a terminating Node without our finalizer: either we released
// it and another finalizer holds it, or it was never protected. That is said once.
func (t *term) settle(ctx context.Context, node *nodeMeta) error {
	if _, known := t.settled.Load(node.UID); known || !t.selected(node) {
		return nil
	}
	if _, released := t.released.Load(node.UID); released {
		t.heldByOthers(node) // A bypass may have gone over a record that could not be written.
		return nil
	}
	record, _, err := t.journal.Load(ctx, node.Name, node.UID, false)
	var unreadable *runrecord.UnreadableError
	switch {
	case errors.As(err, &unreadable):
		t.settled.Store(node.UID, struct{}{})
		t.Log.Error("the run record of a node that our finalizer no longer holds cannot be read, so nobody knows whether its cleanup was done",
			"node", node.Name, "uid", node.UID, "err", err)
		return nil
	case err != nil:
		return err
	}
	t.settled.Store(node.UID, struct{}{})
	switch {
	case record == nil:
		t.Log.Warn("node was deleted before it had our finalizer, it gets no cleanup", "node", node.Name, "uid", node.UID)
		t.Metrics.NodeUnprotected()
		t.Reporter.About(node).NodeUnprotected()
	case !record.State.Released():
		t.Log.Warn("somebody took our finalizer off before the cleanup was done", "node", node.Name, "uid", node.UID)
		t.Metrics.NodeUnprotected()
		t.Reporter.About(node).FinalizerLost()
	default:
		t.heldByOthers(node)
	}
	return nil
}

func (t *term) heldByOthers(node *nodeMeta) {
	t.settled.Store(node.UID, struct{}{})
	t.Log.Info("node released, others still hold it", "node", node.Name, "uid", node.UID, "finalizers", node.Finalizers)
}

// onDeletion brings a terminating Node on that our finalizer holds.
func (t *term) onDeletion(ctx context.Context, cached *nodeMeta) (time.Duration, error) {
	if _, released := t.released.Load(cached.UID); released {
		return 0, nil // The informer is about to say so.
	}
	bypass, err := api.BypassOf(cached, t.Clock.Now())
	bypassed := err == nil && bypass.Active
	if t.runs.running(cached.UID) {
		switch {
		case bypassed:
			t.runs.interrupt(cached.UID, errBypassed)
		case t.releasable(cached):
			t.runs.interrupt(cached.UID, errDeadline)
		}
		return t.tellLate(cached), nil // The end of the run puts the Node in the queue again.
	}
	// Without room nothing of the Node is even read, but for an end that needs none.
	due := bypassed || t.releasable(cached) || t.standing.done(cached.UID)
	return t.inTurn(ctx, cached, due, func(c *cleanup) (time.Duration, error) {
		if c.node.DeletionTimestamp == nil || !api.HasFinalizer(c.node) {
			return 0, nil // The informer is about to say so.
		}
		return c.deleted(ctx)
	})
}

// read reads the Node and what is known about its cleanup, or returns nil where
// the Node that was seen is gone.
func (t *term) read(ctx context.Context, cached *nodeMeta) (*cleanup, error) {
	if err := t.Fence(); err != nil {
		return nil, err
	}
	// At least as new as what was seen, which the API server answers from its
	// own cache instead of asking etcd.
	node, err := t.Client.CoreV1().Nodes().Get(ctx, cached.Name, metav1.GetOptions{ResourceVersion: cached.ResourceVersion})
	if apierrors.IsNotFound(err) || err == nil && node.UID != cached.UID {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading node %s: %w", cached.Name, err)
	}
	return t.open(ctx, node)
}
