package watcher

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	contract "github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// secretChanged notes a new start for every cleanup that stands still, or is about to,
// where a step of the config uses the Secret.
func (t *term) secretChanged(name string) {
	if !t.uses(name) {
		return
	}
	t.lookAgain(func(node *nodeMeta, state api.State) bool {
		if !standsStill(state) && state != api.Running {
			return false
		}
		t.restart.Store(node.UID, struct{}{})
		return true
	})
	t.Log.Info("a secret of a step changed", "secret", name)
}

// secretWritten has those cleanups looked at again that failed, perhaps before that.
func (t *term) secretWritten(name string) {
	if t.uses(name) {
		t.lookAgain(func(_ *nodeMeta, state api.State) bool { return state == api.Failed })
	}
}

// lookAgain puts the Nodes in the queue that are chosen by the state of their cleanup.
func (t *term) lookAgain(chosen func(*nodeMeta, api.State) bool) {
	for _, object := range t.nodes.GetStore().List() {
		node := object.(*nodeMeta)
		if known, found := t.standing.known(node.UID); found && chosen(node, known.state) {
			t.queue.Add(node.Name)
		}
	}
}

// uses reports whether a step of the config uses a Secret.
func (t *term) uses(secret string) bool {
	return slices.ContainsFunc(t.Config().Steps, func(step config.Step) bool { return uses(step, secret) })
}

func uses(step config.Step, secret string) bool {
	return slices.ContainsFunc(step.Secrets, func(key contract.SecretKey) bool { return key.Name == secret })
}

// secretSince reports, once in a term, whether a Secret of a step that failed was
// written since.
func (c *cleanup) secretSince() bool {
	since := slices.ContainsFunc(c.config.Steps, func(step config.Step) bool {
		known := c.record.Step(step.Name)
		if known == nil || known.State != api.StepFailed || known.FinishedAt == nil {
			return false
		}
		return slices.ContainsFunc(step.Secrets, func(key contract.SecretKey) bool {
			at, found := c.written.Load(key.Name)
			return found && at.(time.Time).After(known.FinishedAt.Time)
		})
	})
	if !since {
		return false
	}
	_, again := c.restarted.LoadOrStore(c.node.UID, struct{}{})
	return !again
}

func standsStill(state api.State) bool {
	return state == api.Blocked || state == api.Failed || state == api.Waiting
}

// restarts reports, once, whether a cleanup is to have a new start.
func (t *term) restarts(uid types.UID) bool {
	_, noted := t.restart.LoadAndDelete(uid)
	return noted
}
