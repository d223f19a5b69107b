package watcher

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// pruneEvery is how often old run records are looked for. One more hour of
// history costs nothing.
const pruneEvery = time.Hour

// keepHistory prunes run records, now and every hour, until ctx ends.
func (t *term) keepHistory(ctx context.Context) {
	ticker := t.Clock.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		t.prune(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

func (t *term) prune(ctx context.Context) {
	if t.Fence() != nil {
		return
	}
	present := map[types.UID]bool{}
	for _, object := range t.nodes.GetStore().List() {
		present[object.(*nodeMeta).UID] = true
	}
	deleted, err := t.Records.Prune(ctx, t.Config().History, t.Clock.Now(), func(uid types.UID) bool { return present[uid] })
	if err != nil && ctx.Err() == nil {
		t.Log.Error("old run records cannot be pruned, trying again later", "err", err)
	}
	if deleted > 0 {
		t.Log.Info("old run records pruned", "deleted", deleted)
	}
}
