package watcher

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// terminating returns how long ago a Node was deleted, at least: no API server's clock can
// make it longer than it was, see serverclock.
func (t *term) terminating(node metav1.Object) time.Duration {
	since, _ := t.deleted.LoadOrStore(node.GetUID(), t.Clock.Elapsed(node.GetDeletionTimestamp().Time))
	return since.(func() time.Duration)()
}

// releasable reports whether the deadline lets the Node go.
func (t *term) releasable(node *nodeMeta) bool {
	deadline := t.Config().Deadline
	return deadline.After > 0 && deadline.Action == config.Release && t.terminating(node) >= deadline.After
}

// tellLate says of a terminating Node that its deadline has passed: once, also while a
// step runs or others come before it. It returns the time that is left until then, 0 for
// when there is nothing more to say.
func (t *term) tellLate(node metav1.Object) time.Duration {
	deadline := t.Config().Deadline
	if deadline.After == 0 || node.GetDeletionTimestamp() == nil {
		return 0
	}
	if left := deadline.After - t.terminating(node); left > 0 {
		return left
	}
	if _, told := t.late.LoadOrStore(node.GetUID(), struct{}{}); !told {
		t.Log.Warn("deadline passed", "node", node.GetName(), "uid", node.GetUID(), "deadline", deadline.After, "action", deadline.Action)
		t.Reporter.About(node).CleanupDeadline(deadline.After, deadline.Action == config.Release)
	}
	return 0
}

// isLate reports whether tellLate has said so.
func (t *term) isLate(node metav1.Object) bool {
	_, late := t.late.Load(node.GetUID())
	return late
}

// deadline acts on a cleanup that takes longer than config allows. It reports
// whether the Node was released.
func (c *cleanup) deadline(ctx context.Context) (bool, error) {
	if c.record.DeadlinePassed {
		c.late.Store(c.node.UID, struct{}{}) // Whoever led before has said it.
	}
	if c.tellLate(c.node) > 0 || !c.isLate(c.node) || c.config.Deadline.After == 0 {
		return false, nil
	}
	if c.config.Deadline.Action == config.Release {
		c.record.BypassReason = fmt.Sprintf("the config's deadline of %s", c.config.Deadline.After)
		return true, c.finish(ctx, api.Bypassed, "released with what was done: "+c.record.BypassReason, false)
	}
	if c.record.DeadlinePassed || c.record.PlanHash == "" {
		return false, nil // A run that has not begun is saved as it begins.
	}
	return false, c.save(ctx, c.record)
}

// untilDeadline returns the time that is left until the deadline, or other where
// that is sooner or there is no deadline. An other of 0 means none.
func (c *cleanup) untilDeadline(other time.Duration) time.Duration {
	if c.config.Deadline.After == 0 || c.node.DeletionTimestamp == nil {
		return other
	}
	left := c.config.Deadline.After - c.terminating(c.node)
	if left <= 0 || other > 0 && other < left {
		return other
	}
	return left
}
