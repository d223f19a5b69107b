package executor

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// withdrawFunc is a plugin that withdraws its requests.
type withdrawFunc func(context.Context) error

func (withdrawFunc) Cleanup(context.Context, cleanup.Target) error { panic("cleaned up") }

func (f withdrawFunc) Withdraw(ctx context.Context, _ cleanup.Target) error { return f(ctx) }

func TestWithdrawHasALimitOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		hangs := b.step("hangs", nil)
		hangs.Timeout, hangs.TotalTimeout = time.Hour, 2*time.Hour
		hangs.Bound = withdrawFunc(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		began := time.Now()
		err := New(clock.RealClock{}, nil, hush).Withdraw(t.Context(), []config.Step{hangs}, &corev1.Node{}, slog.New(slog.DiscardHandler))
		if err == nil || err.Error() != "withdrawing step hangs: step hangs did not finish within 30s" || time.Since(began) != withdrawTimeout {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}
