package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodepatch"
)

// release removes our finalizer from a Node whose record says why it may be deleted.
func (r *reconciler) release(ctx context.Context, c *cleanup) result {
	err := r.Fence()
	if err == nil {
		err = r.removeFinalizer(ctx, c)
	}
	if errors.Is(err, errUncordoned) {
		return failed(err) // The next run runs the drain again, and records why.
	}
	if err != nil {
		return failed(errors.Join(err, r.publishUnreleased(ctx, c, err)))
	}
	r.states.update(c.node.UID, func(s *nodeState) { s.released = true })
	if c.record.State == api.Bypassed {
		c.report.Publish(nodeevent.CleanupBypassed(c.record))
	} else {
		c.report.Publish(nodeevent.CleanupCompleted(c.record))
	}
	c.log.Info("node released", "state", c.record.State, "otherFinalizers", strings.Join(api.OtherFinalizers(c.node), ","))
	return stop
}

// errUncordoned reports that a Node was uncordoned after its last verification.
var errUncordoned = errors.New("the node was uncordoned before it was released")

// removeFinalizer removes our finalizer. The same write requires that a drained Node is still cordoned:
// between the verification and the release, a user may have uncordoned it, and the scheduler may
// have bound Pods to it.
func (r *reconciler) removeFinalizer(ctx context.Context, c *cleanup) error {
	if c.record.State != api.Succeeded || !c.record.Drained() {
		return r.Nodes.RemoveFinalizer(ctx, c.node)
	}
	err := r.Nodes.RemoveFinalizerIfCordoned(ctx, c.node)
	if !apierrors.IsInvalid(err) || errors.As(err, new(nodepatch.InvalidError)) {
		return err
	}
	switch node, unread := r.readNode(ctx, c, ""); {
	case unread != nil:
		return errors.Join(err, unread)
	case node == nil:
		return nil
	case !node.Spec.Unschedulable:
		return errUncordoned
	}
	return err
}

// publishUnreleased publishes on the Node why it is not released although its cleanup is done.
func (r *reconciler) publishUnreleased(ctx context.Context, c *cleanup, err error) error {
	var invalid nodepatch.InvalidError
	if r.Fence() != nil || ctx.Err() != nil || errors.As(err, &invalid) {
		return nil // The next leader publishes it, or the condition cannot be written either.
	}
	return r.publishBlocked(ctx, c, fmt.Sprintf("removing the finalizer failed, retrying: %v. "+
		"If the error is Forbidden, run: kubectl nodecleanup check", err))
}
