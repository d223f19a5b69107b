package rollout_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/cluster"
)

const creators = 16

// load continuously creates Nodes with dry runs.
type load struct {
	*testing.T
	admin                      kubernetes.Interface
	calls, failed, unprotected atomic.Int64
	end                        func()
}

// startLoad starts the load after the first protected Node.
func startLoad(t *testing.T, admin kubernetes.Interface) *load {
	t.Helper()
	l := &load{T: t, admin: admin}
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, testTimeout, true, func(ctx context.Context) (bool, error) {
		protected, err := l.create("probe")
		return err == nil && protected, nil // The CA is not published yet.
	}); err != nil {
		t.Fatalf("waiting until the API server calls the webhook: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for i := range creators {
		group.Go(func() {
			for ctx.Err() == nil {
				l.one(fmt.Sprintf("worker-%d", i))
			}
		})
	}
	l.end = sync.OnceFunc(func() {
		stop()
		group.Wait()
		if l.failed.Load() > 0 || l.unprotected.Load() > 0 {
			t.Errorf("creations failed or unprotected: %s", l)
		}
	})
	t.Cleanup(l.end)
	return l
}

func (l *load) one(name string) {
	protected, err := l.create(name)
	l.calls.Add(1)
	switch {
	case err != nil:
		if l.failed.Add(1) <= 5 {
			l.Errorf("a creation failed: %v", err)
		}
	case !protected:
		l.unprotected.Add(1)
	}
}

// create uses the test's context instead of the load's, so that stopping the load does not fail a request.
func (l *load) create(name string) (protected bool, err error) {
	node, err := l.admin.CoreV1().Nodes().Create(l.Context(), cluster.MakeNode(name, nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err == nil && api.HasFinalizer(node), err
}

func (l *load) String() string {
	return fmt.Sprintf("%d creations, %d failed, %d unprotected", l.calls.Load(), l.failed.Load(), l.unprotected.Load())
}
