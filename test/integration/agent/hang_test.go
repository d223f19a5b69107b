package agent_test

import (
	"context"
	"strings"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// A plugin that hangs keeps its own node, and that one's room, and no other's.
func TestHangingPluginDoesNotAffectOtherNodes(t *testing.T) {
	f := setUp(t, "concurrency: {nodes: 2}\nretry: {maxRetries: 0}\nsteps:\n- {name: storage, plugin: probe, timeout: 15s}\n")
	hangs, stuck := make(chan struct{}), make(chan struct{})
	f.probes[""] = func(_ context.Context, target cleanup.Target) error {
		if target.Node.Name == "stuck" {
			close(hangs)
			<-stuck // It ignores its context.
		}
		return nil
	}
	// The last to end: the agent waits for no plugin that it has left behind.
	t.Cleanup(func() { close(stuck) })
	f.start(f.options())
	node := f.protected("stuck")
	f.delete(node)
	<-hangs
	for _, name := range []string{"one", "two", "three"} {
		other := f.protected(name)
		f.delete(other)
		f.awaitDeleted(other)
	}
	if run := f.record(node); run.State != api.Running {
		t.Errorf("the others are done and the one that hangs is %s: this proves nothing", run.State)
	}
	if message := f.awaitState(node, api.Failed); !strings.Contains(message, "step storage did not finish within 15s, and plugin probe did not stop when it was cancelled") {
		t.Errorf("the condition says %q", message)
	}
	if !api.HasFinalizer(f.read(node)) {
		t.Error("the finalizer is removed")
	}
}
