package agent_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// fails is a plugin whose first attempt fails. The next attempt succeeds when the test allows it.
type fails struct{ succeed chan struct{} }

func (p fails) Cleanup(ctx context.Context, target cleanup.Target) error {
	if target.Attempt == 1 {
		return errors.New("volume vol-7 is still attached")
	}
	select {
	case <-p.succeed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A merge patch without a field keeps the previous value of the field.
func TestConditionDropsTheEarlierMessage(t *testing.T) {
	f := setUp(t, "steps:\n- {name: storage, plugin: fails, retry: {initialDelay: 2s}}\n")
	plugin := fails{make(chan struct{})}
	f.start(f.with("fails", plugin))
	node := f.protected("worker", "example.com/other") // Which keeps the Node after our cleanup.
	f.delete(node)
	if message := f.awaitState(node, api.Waiting); message == "" {
		t.Fatal("the condition has no message while the cleanup waits")
	}
	close(plugin.succeed)
	if message := f.awaitState(node, api.Succeeded); message != "" {
		t.Errorf("the message of the done cleanup is %q", message)
	}
}
