package main

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/test/bench/internal/measure"
)

// measureIdle returns the peak memory of an agent that starts in a cluster of so many Nodes,
// leads, and has nothing to do.
func measureIdle(ctx context.Context, o options) (measure.Bar, error) {
	b, stop, err := setUp(ctx, o, o.idle)
	if err != nil {
		return measure.Bar{}, err
	}
	peak, err := b.idlePeak(ctx)
	return measure.Bar{Name: fmt.Sprintf("peak resident memory in MiB, idle at %d nodes", o.idle), Got: mebibytes(peak), Want: maxIdleMemory}, stop(err)
}

func (b *bench) idlePeak(ctx context.Context) (int64, error) {
	if _, err := b.create(ctx, "idle", api.Finalizer); err != nil {
		return 0, err
	}
	mark, err := b.cluster.AuditMark()
	if err != nil {
		return 0, err
	}
	if err := b.agent.Start(ctx); err != nil {
		return 0, err
	}
	// The leader writes its status.
	err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, stuckAfter, true, func(ctx context.Context) (bool, error) {
		_, err := b.client.CoreV1().ConfigMaps(api.Namespace).Get(ctx, api.StatusName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return 0, fmt.Errorf("waiting until the agent leads: %w; its log is %s", err, b.agent.Log())
	}
	if _, err := b.settled(ctx, mark); err != nil {
		return 0, err
	}
	peak := peakMemory(b.agent.PID())
	return peak, b.agent.Stop(ctx)
}
