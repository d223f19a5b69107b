package controller

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// pruneEvery is the time between prunings of old run records.
const pruneEvery = time.Hour

// pruneRecords prunes run records now and every hour, until ctx ends.
func (r *reconciler) pruneRecords(ctx context.Context) {
	ticker := r.Clock.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		r.pruneOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

func (r *reconciler) pruneOnce(ctx context.Context) {
	if r.Fence() != nil {
		return
	}
	present := map[types.UID]bool{}
	for _, object := range r.nodes.GetStore().List() {
		present[object.(*nodeMeta).UID] = true
	}
	deleted, err := r.Records.Prune(ctx, r.Config().History, r.Clock.Now(), func(uid types.UID) bool { return present[uid] })
	if err != nil && ctx.Err() == nil {
		r.Log.Error("old run records cannot be pruned, trying again later", "err", err)
	}
	if deleted > 0 {
		r.Log.Info("old run records pruned", "deleted", deleted)
	}
}
