package watcher

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	contract "github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// secretChanged notes a new start for every cleanup that stands still, where a
// step of the config uses the Secret.
func (t *term) secretChanged(name string) {
	used := false
	for _, step := range t.Config().Steps {
		used = used || slices.ContainsFunc(step.Secrets, func(key contract.SecretKey) bool { return key.Name == name })
	}
	if !used {
		return
	}
	t.Log.Info("a secret of a step changed", "secret", name)
	for _, object := range t.nodes.GetStore().List() {
		node := object.(*nodeMeta)
		if known, found := t.standing.known(node.UID); found && standsStill(known.state) {
			t.restart.Store(node.UID, struct{}{})
			t.queue.Add(node.Name)
		}
	}
}

func standsStill(state api.State) bool {
	return state == api.Blocked || state == api.Failed || state == api.Waiting
}

// restarts reports, once, whether a cleanup is to have a new start.
func (t *term) restarts(uid types.UID) bool {
	_, noted := t.restart.LoadAndDelete(uid)
	return noted
}
