package watcher

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/runrecord"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cordon"
)

// What the condition of a Node says that was cleaned up on request.
const (
	readyMessage  = "cleaned up on request: the node stays cordoned, and goes at once when it is deleted"
	dryRunMessage = "dry run on request: nothing was done. A deletion begins anew"
)

// involved reports whether somebody asked for the cleanup of a Node that is not
// deleted, or an earlier request left our cordon on it.
func involved(node metav1.Object) bool {
	annotations := node.GetAnnotations()
	return annotations[api.AnnotationCleanupRequestedAt] != "" || annotations[api.AnnotationCordonedBy] == api.Agent
}

// concerned reports whether there is something to do or to give up for a Node
// that is not deleted.
func (t *term) concerned(node *nodeMeta) bool {
	_, withdrawn := t.withdrawn.Load(node.UID)
	return withdrawn || involved(node)
}

// asked reports whether the request that a run is about still stands.
func asked(node metav1.Object, run *api.Run) bool {
	return run.CleanupRequestedAt != "" && node.GetAnnotations()[api.AnnotationCleanupRequestedAt] == run.CleanupRequestedAt
}

// onRequest brings the cleanup of a Node on that is not deleted, or gives it up.
func (t *term) onRequest(ctx context.Context, cached *nodeMeta) (time.Duration, error) {
	if t.runs.running(cached.UID) {
		return 0, nil // The end of the run puts the Node in the queue again.
	}
	if err := t.protect(ctx, cached); err != nil {
		return 0, err
	}
	givenUp := cached.Annotations[api.AnnotationCleanupRequestedAt] == ""
	return t.inTurn(ctx, cached, givenUp, func(c *cleanup) (time.Duration, error) {
		if c.node.DeletionTimestamp != nil {
			return 0, nil // The informer is about to say so.
		}
		again, err := c.requested(ctx)
		if err == nil && c.node.Annotations[api.AnnotationCleanupRequestedAt] == "" {
			t.withdrawn.Delete(cached.UID) // Not before the Node was read without it.
		}
		return again, err
	})
}

// requested takes the one step that is due for a Node that is not deleted.
func (c *cleanup) requested(ctx context.Context) (time.Duration, error) {
	request := c.node.Annotations[api.AnnotationCleanupRequestedAt]
	switch {
	case request == "":
		return 0, c.giveUp(ctx, "the request was withdrawn")
	case !c.selected(c.node):
		return 0, c.report.State(ctx, api.Blocked, "nothing is done on request: the config's nodeSelector leaves this node out")
	case c.record.CleanupRequestedAt != request:
		c.anew()
		c.record.CleanupRequestedAt, c.record.RequestedBy = request, c.node.Annotations[api.AnnotationCleanupRequestedBy]
	case c.record.State == api.Canceled:
		return 0, c.canceled(ctx)
	case begun(c.record) && !c.record.DryRun && !c.node.Spec.Unschedulable:
		if uncordoned, err := c.uncordoned(ctx); err != nil || !uncordoned {
			return 0, err
		}
		return 0, c.giveUp(ctx, "somebody made the node schedulable again")
	case c.record.State.Released():
		return 0, nil
	}
	return c.proceed(ctx)
}

// begun reports whether a step of the run was ever begun.
func begun(run *api.Run) bool {
	return slices.ContainsFunc(run.Steps, func(step api.StepRun) bool { return step.Attempts > 0 })
}

// anew begins a new run for a Node; the record of the one before is overwritten.
func (c *cleanup) anew() {
	c.record = runrecord.Begin(c.node, c.Clock.Now())
	c.record.RetryRequestedAt = c.node.Annotations[api.AnnotationRetryRequestedAt]
}

// uncordoned reports whether the Node can be scheduled on as of now. It may have been
// read as it was before our own cordon: from the API server's cache, which comes after
// what is written.
func (c *cleanup) uncordoned(ctx context.Context) (bool, error) {
	current, err := c.Client.CoreV1().Nodes().Get(ctx, c.node.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading node %s: %w", c.node.Name, err)
	}
	return current.UID == c.node.UID && current.DeletionTimestamp == nil && !current.Spec.Unschedulable, nil
}

// giveUp ends the cleanup of a Node that is not deleted, and takes our cordon
// off. A deletion cleans up anew.
func (c *cleanup) giveUp(ctx context.Context, why string) error {
	if c.record.CleanupRequestedAt != "" && c.record.State != api.Canceled {
		now := metav1.NewTime(c.Clock.Now())
		c.record.State, c.record.Message, c.record.FinishedAt = api.Canceled, "given up: "+why, &now
		// Before the cordon is off, after which what was drained counts no longer.
		if err := c.stored.Save(ctx, c.record); err != nil {
			return err
		}
		c.log.Info("cleanup on request given up", "why", why)
		c.report.CleanupCanceled(why)
	}
	return c.canceled(ctx)
}

// canceled leaves a Node whose cleanup was given up as it was before.
func (c *cleanup) canceled(ctx context.Context) error {
	if err := cordon.GiveBack(ctx, c.Client.CoreV1().Nodes(), c.node); err != nil {
		return err
	}
	if c.record.State == api.Canceled {
		c.show(ctx, c.record)
	}
	return nil
}

// cordon keeps new pods away from a Node that is cleaned up on request. What is
// to be done for one that is deleted is for its steps to say.
func (c *cleanup) cordon(ctx context.Context) error {
	if c.node.DeletionTimestamp != nil || c.config.DryRun {
		return nil
	}
	return cordon.Set(ctx, c.Client.CoreV1().Nodes(), c.node)
}

// takeOver has the deletion of a Node go on where a cleanup on request was. What
// that one did counts only while no pod can have come since; a dry run did nothing.
func (c *cleanup) takeOver(ctx context.Context) error {
	if c.record.CleanupRequestedAt == "" || c.record.DeletionRequestedAt != nil {
		return nil
	}
	if c.record.State == api.Canceled || c.record.DryRun || !asked(c.node, c.record) || begun(c.record) && !c.node.Spec.Unschedulable {
		c.log.Info("what was cleaned up on request counts no longer, beginning anew")
		c.anew()
		return nil
	}
	c.record.DeletionRequestedAt = c.node.DeletionTimestamp.DeepCopy()
	c.record.Host = api.HostOf(c.node)
	runrecord.NoteDeletion(c.record, c.node)
	c.recordRequester(ctx)
	if !c.record.State.Released() {
		return nil
	}
	return c.stored.Save(ctx, c.record)
}
