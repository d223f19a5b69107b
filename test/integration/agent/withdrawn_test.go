package agent_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// The operator's own cordon stays, so only the condition of the Node shows the cleanup.
func TestRequestWithdrawnWithoutAnAgentIsCanceled(t *testing.T) {
	for name, finishes := range map[string]bool{"in the middle": false, "at the end": true} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, oneProbe)
			begun := make(chan struct{}, 1)
			f.probes["storage"] = func(ctx context.Context, _ cleanup.Target) error {
				begun <- struct{}{}
				if !finishes {
					<-ctx.Done()
				}
				return ctx.Err()
			}
			stop := f.start(f.options())
			node := f.protected("worker")
			f.patch(node, `{"spec":{"unschedulable":true}}`)
			f.request(node, firstRequest)
			<-begun
			if finishes {
				f.awaitState(node, api.Succeeded)
			}
			stop()
			f.withdraw(node)
			f.start(f.options())
			f.awaitState(node, api.Canceled)
			if run := f.record(node); run.State != api.Canceled {
				t.Errorf("the record says %+v", run)
			}
			if current := f.read(node); !current.Spec.Unschedulable {
				t.Error("the operator's cordon was removed")
			}
		})
	}
}

// The earlier request has left a record. A bulk deletion must find it, so that each step is called
// once.
func TestWithdrawnRequestIsFoundDuringABulkDeletion(t *testing.T) {
	for name, restart := range map[string]bool{"in the same leadership": false, "in the next one": true} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, "concurrency: {nodes: 40}\n"+oneProbe)
			open := make(chan struct{})
			begun := make(chan struct{}, 100)
			var calls atomic.Int32
			f.probes["storage"] = func(ctx context.Context, target cleanup.Target) error {
				if target.Node.Name == "asked" {
					calls.Add(1)
					return nil
				}
				begun <- struct{}{}
				select {
				case <-open:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			stop := f.start(f.options())
			node := f.protected("asked")
			f.request(node, firstRequest)
			f.awaitState(node, api.Succeeded)
			f.withdraw(node)
			f.awaitState(node, api.Canceled)
			calls.Store(0)
			if restart {
				stop()
				options, log := f.logged()
				f.start(options)
				f.awaitLog(log, "watching nodes")
			}
			const bulk = 20
			for i := range bulk {
				f.delete(f.protected(fmt.Sprintf("worker-%d", i)))
			}
			for range bulk {
				<-begun
			}
			f.delete(node)
			f.awaitDeleted(node)
			close(open)
			if got := calls.Load(); got != 1 {
				t.Errorf("its step was called %d times after it was deleted", got)
			}
			if run := f.record(node); run.State != api.Succeeded || run.CleanupRequestedAt != "" {
				t.Errorf("the run record says %+v", run)
			}
		})
	}
}
