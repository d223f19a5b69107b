package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/notify"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/runstore"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// load reads the Node and its run record; without a record it begins one.
func (r *reconciler) load(ctx context.Context, c *cleanup) result {
	if err := r.Fence(); err != nil {
		return failed(err)
	}
	// At least as new as the informer's, which the API server answers from its cache
	// instead of from etcd.
	node, err := r.readNode(ctx, c, c.cached.ResourceVersion)
	switch {
	case err != nil || node == nil:
		return result{stop: true, err: err}
	case (node.DeletionTimestamp == nil) != (c.cached.DeletionTimestamp == nil), node.DeletionTimestamp != nil && !api.HasFinalizer(node):
		return stop // The informer will deliver this.
	}
	c.node, c.report = node, r.Reporter.ForNode(node)
	unrecorded := false
	r.states.update(node.UID, func(s *nodeState) { unrecorded, s.unrecorded = s.unrecorded, false })
	if c.stored = r.Records.NewHandle(); !unrecorded { // Without a read: if a record exists after all, the first save fails.
		c.record, c.stored, err = r.Records.Load(ctx, node.Name, node.UID)
	}
	if err != nil {
		if done := r.onLoadError(c, err); done.stop {
			return done
		}
	}
	if c.record == nil {
		c.record = api.NewRun(node, r.Clock.Now())
	} else {
		r.note(c.record)
	}
	return next
}

// readNode reads the Node, at least as new as a resourceVersion; "" is the newest. It returns
// nil if the Node is deleted.
func (r *reconciler) readNode(ctx context.Context, c *cleanup, resourceVersion string) (*corev1.Node, error) {
	node, err := r.Client.CoreV1().Nodes().Get(ctx, c.cached.Name, metav1.GetOptions{ResourceVersion: resourceVersion})
	switch {
	case api.Absent(err), err == nil && node.UID != c.cached.UID:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading node %s: %w", c.cached.Name, err)
	}
	return node, nil
}

// onLoadError handles a record that cannot be read or decoded: it pauses the cleanup. A bypass, or a
// retry request that is newer than the record, starts a new record.
func (r *reconciler) onLoadError(c *cleanup, err error) result {
	var broken runstore.UndecodableError
	undecodable := errors.As(err, &broken)
	if c.terminating() && r.bypassed(c) && (undecodable || api.Refused(err)) {
		c.log.Error("cannot read the run record; the bypass releases the node without it", "err", err)
		return next
	}
	r.states.update(c.node.UID, func(s *nodeState) { s.state = api.Blocked })
	if !undecodable {
		return blocked(fmt.Sprintf(api.AwaitsRecord+"%v", err), err)
	}
	requested := c.node.Annotations[api.AnnotationRetryRequestedAt]
	rejected := retryRejected(requested, broken.WrittenAt)
	if requested != "" && rejected == "" {
		c.log.Warn("the run record cannot be decoded, starting from the first step on request", "requestedAt", requested, "err", err)
		return next
	}
	return blocked(fmt.Sprintf("cannot decode the run record: %v. The cleanup is paused.%s If a newer version wrote it, upgrade the agent. "+
		"Otherwise run every step again: kubectl nodecleanup retry %s; or bypass the cleanup", err, rejected, c.node.Name), err)
}

// clockDifference is how far apart the clocks of an operator and of the API servers may be before a
// new retry request seems old. An old request that counts again only repeats steps.
const clockDifference = 3 * time.Second

// retryRejected returns why a retry request does not count for a record that cannot be decoded, as a
// sentence for the condition, or "". The record cannot say whether the request was honoured, so the
// time decides, which survives a restart of the agent.
func retryRejected(requested string, writtenAt time.Time) string {
	if requested == "" {
		return ""
	}
	at, err := time.Parse(time.RFC3339, requested)
	switch {
	case err != nil:
		return " The retry request does not count: annotation " + api.AnnotationRetryRequestedAt + " is not a time in RFC 3339 format."
	case at.Add(clockDifference).Before(writtenAt):
		return fmt.Sprintf(" The retry request does not count: it is of %s, and the record was changed after it, at %s.", requested, writtenAt.UTC().Format(time.RFC3339))
	}
	return ""
}

// adoptRecord decides whether the stored record describes the deletion of this Node. If
// not, the cleanup starts from the first step.
func (r *reconciler) adoptRecord(ctx context.Context, c *cleanup) result {
	if c.record.DeadlinePassed {
		r.states.update(c.node.UID, func(s *nodeState) { s.late = true }) // The leader before has published it.
	}
	if reason := c.record.Mismatch(c.node); reason != "" {
		c.log.Info("the stored run does not count for this deletion, starting from the first step", "reason", reason)
		c.restart(r.Clock.Now())
	}
	if c.record.DeletionRequestedAt != nil && c.record.PlanHash != "" {
		return next
	}
	c.record.DeletionRequestedAt = c.node.DeletionTimestamp.DeepCopy()
	c.record.Host = api.HostOf(c.node)
	c.record.NoteBreakGlass(c.node)
	deletion, found, err := r.Deletions.Of(ctx, c.node)
	if err != nil { // Nothing depends on it.
		c.log.Warn("reading who deleted the node failed, the cleanup continues", "err", err)
	}
	if found {
		c.record.RequestedBy, c.record.RequestedByVerified = deletion.User, deletion.Verified
	}
	return next
}

// save stores the record, then publishes it.
func (r *reconciler) save(ctx context.Context, c *cleanup) error {
	c.record.DeadlinePassed = c.record.DeadlinePassed || r.states.get(c.node.UID).late
	c.record.Notifications = notify.Selected(c.config.Notifications, c.node.Labels)
	if !c.terminating() && c.record.State == api.Succeeded {
		c.record.Message = readyMessage
		if c.record.DryRun {
			c.record.Message = dryRunMessage
		}
	}
	if err := c.stored.Save(ctx, c.record); err != nil {
		return err
	}
	if !c.began.IsZero() {
		r.states.update(c.node.UID, func(s *nodeState) { s.ranAt = c.began })
	}
	r.publish(ctx, c)
	return nil
}

// publish shows the record in the Node's condition and in metrics.
func (r *reconciler) publish(ctx context.Context, c *cleanup) {
	r.note(c.record)
	if c.record.State.Released() && c.terminating() && len(api.OtherFinalizers(c.node)) == 0 {
		c.report.Discard(!r.bulk())
		return
	}
	c.logUnpublished(c.report.Run(ctx, c.record))
}

// show publishes another state than that of the record.
func (c *cleanup) show(ctx context.Context, state api.State, message string) error {
	shown := *c.record
	shown.State, shown.Message = state, message
	return c.report.Run(ctx, &shown)
}
