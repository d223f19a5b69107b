package watcher

import (
	"context"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// firstHand knows of Nodes that they have no run record, without asking for it: this term saw
// their deletion happen, and they had none before.
type firstHand struct {
	deleted sync.Map // types.UID → struct{}
	// recorded holds Nodes that have, or may have, a record from before they were deleted.
	recorded sync.Map // types.UID → struct{}
	// listed: all are in it that had one when the term began.
	listed atomic.Bool
}

// take reports whether it is known that the Node has no record. It will not be known again.
func (f *firstHand) take(uid types.UID) bool {
	_, deleted := f.deleted.LoadAndDelete(uid)
	_, recorded := f.recorded.Load(uid)
	return deleted && !recorded && f.listed.Load()
}

func (f *firstHand) forget(uid types.UID) {
	f.deleted.Delete(uid)
	f.recorded.Delete(uid)
}

// takeStock takes over what the leader before has begun, and finds out which Nodes have a
// record: they were once cleaned up on request. Where that fails, the record of each Node is
// read that is deleted, or tried to.
func (t *term) takeStock(ctx context.Context) {
	err := t.journal.Take(ctx)
	present := map[string]types.UID{}
	for _, object := range t.nodes.GetStore().List() {
		node := object.(*nodeMeta)
		name := api.RunName(node.Name, node.UID)
		present[name] = node.UID
		if t.journal.Holds(name) { // A record of its own that it has by now is listed below.
			t.firstHand.recorded.Store(node.UID, struct{}{})
		}
	}
	if err == nil {
		err = t.Records.Names(ctx, func(name string) {
			if uid, found := present[name]; found {
				t.firstHand.recorded.Store(uid, struct{}{})
			}
		})
	}
	if err != nil && ctx.Err() == nil {
		t.Log.Warn("it is not known which nodes have run records, so that of each node is read when it is deleted, and no cleanup begins before that can be",
			"err", err)
	}
	t.firstHand.listed.Store(err == nil)
}
