package controller

import (
	"context"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// ensureFinalizer adds our finalizer to a Node that was created without it.
func (r *reconciler) ensureFinalizer(ctx context.Context, c *cleanup) result {
	if !api.NeedsFinalizer(c.cached) || !r.selected(c.cached) {
		return next
	}
	if err := r.Fence(); err != nil {
		return failed(err)
	}
	added, err := r.Nodes.AddFinalizer(ctx, c.cached)
	if err != nil || !added {
		return failed(err)
	}
	r.Metrics.FinalizerAdded()
	c.log.Info("finalizer added to a node that lacked it")
	return next
}
