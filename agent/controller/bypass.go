package controller

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/nodeevent"
)

// onBypass releases a Node whose cleanup an operator bypasses. A record that says
// "Bypassed" does not: only the Node's annotation does, which needs rights on Nodes.
func (r *reconciler) onBypass(ctx context.Context, c *cleanup) result {
	bypass, err := api.BypassOf(c.node, r.Clock.Now())
	if err != nil {
		c.log.Warn("the bypass annotation is invalid and is ignored", "err", err)
		c.report.Publish(nodeevent.BypassInvalid(err))
	}
	if bypass.Active {
		message := "bypassed by " + bypass.Who() + ": " + bypass.Reason
		if bypass.Reason == "" {
			message = "bypassed by " + bypass.Who() + " without a reason"
		}
		c.record.BypassReason = bypass.Reason
		c.record.BypassedBy, c.record.BypassedByVerified = bypass.By, r.nameVerified(ctx, c, bypass.By)
		return r.releaseBypassed(ctx, c, message, true)
	}
	if c.record.State == api.Bypassed && !r.deadlineReleases(c) {
		c.log.Warn("the record says Bypassed, but no bypass is active: the cleanup continues")
		c.record.State, c.record.Message, c.record.FinishedAt = api.Pending, "", nil
		c.record.BypassReason, c.record.BypassedBy, c.record.BypassedByVerified = "", "", false
	}
	return next
}

// nameVerified reports whether the API server has verified that a request on the Node was sent by
// the user whom it names. Only the record depends on it.
func (r *reconciler) nameVerified(ctx context.Context, c *cleanup, name string) bool {
	if name == "" {
		return false
	}
	enforced, err := r.NamesEnforced(ctx)
	if err != nil {
		c.log.Warn("cannot read whether the admission policy verifies names, recording the name as unverified", "err", err)
	}
	return enforced && err == nil
}

// releaseBypassed records the bypass and releases the Node. If force is true and the API server rejects
// the record, it releases the Node anyway: the log and the Event then document it.
func (r *reconciler) releaseBypassed(ctx context.Context, c *cleanup, message string, force bool) result {
	now := metav1.NewTime(r.Clock.Now())
	c.record.State, c.record.Message, c.record.FinishedAt = api.Bypassed, message, &now
	if err := r.save(ctx, c); err != nil {
		if !force || !api.Refused(err) {
			return failed(err)
		}
		c.log.Error("cannot record the bypass; releasing the node without a record", "reason", c.record.BypassReason, "err", err)
	}
	return r.release(ctx, c)
}
