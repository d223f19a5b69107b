package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// LeaseTiming is the timing of leader election, see client-go's leaderelection.
type LeaseTiming struct {
	// Duration after which others may take a Lease that was not renewed.
	Duration time.Duration
	// RenewDeadline is how long the leader tries to renew before it gives up.
	RenewDeadline time.Duration
	// RetryPeriod is how long to wait between tries.
	RetryPeriod time.Duration
}

// DefaultLeaseTiming is what Kubernetes' own components use.
func DefaultLeaseTiming() LeaseTiming {
	return LeaseTiming{Duration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second}
}

// leadership makes sure that one agent cleans.
type leadership struct {
	lock    *timedLock
	timing  LeaseTiming
	metrics *metrics.Metrics
	log     *slog.Logger
}

func newLeadership(client kubernetes.Interface, options Options, metrics *metrics.Metrics) *leadership {
	lock := &resourcelock.LeaseLock{Client: client.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: options.Identity}}
	lock.LeaseMeta.Namespace, lock.LeaseMeta.Name = options.Namespace, api.Agent
	lock.Labels = map[string]string{api.LabelName: api.LabelNameValue}
	return &leadership{lock: &timedLock{Interface: lock}, timing: options.Lease, metrics: metrics, log: options.Log}
}

// run does the work each time this agent is the leader, until ctx ends. The
// work's context ends with the leadership, and no new term begins before the
// work has returned.
func (l *leadership) run(ctx context.Context, work func(context.Context) error) error {
	for ctx.Err() == nil {
		failed := make(chan error, 1)
		term, cancel := context.WithCancel(ctx)
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock:          l.lock,
			LeaseDuration: l.timing.Duration,
			RenewDeadline: l.timing.RenewDeadline,
			RetryPeriod:   l.timing.RetryPeriod,
			// Giving the Lease back while cut off from the API server
			// would keep the work going for another RenewDeadline; it is
			// given back below, after the work has ended.
			ReleaseOnCancel: false,
			Name:            api.Agent,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					l.metrics.Leading(true)
					l.log.Info("leading", "identity", l.lock.Identity())
					err := work(ctx)
					if ctx.Err() != nil {
						err = nil
					}
					failed <- err
					cancel()
				},
				OnStoppedLeading: func() { l.metrics.Leading(false) },
				OnNewLeader:      func(identity string) { l.log.Info("leader elected", "leader", identity) },
			},
		})
		if err != nil {
			cancel()
			return fmt.Errorf("setting up leader election: %w", err)
		}
		elector.Run(term)
		cancel()
		if l.lock.renewed.Load() == nil {
			continue // It never led.
		}
		err = <-failed
		l.release(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
	}
	return nil
}

// fence returns an error unless this agent renewed the Lease so recently that
// nobody else can have taken it. It is asked before every side effect, because
// a process that was suspended finds out last.
func (l *leadership) fence() error {
	renewed := l.lock.renewed.Load()
	if renewed == nil {
		return errNotLeading
	}
	// Both clocks are asked: the monotonic one stands still while a machine
	// is suspended, the one on the wall may be set.
	age := max(time.Since(*renewed), time.Now().Round(0).Sub(renewed.Round(0)))
	if age > l.timing.RenewDeadline {
		return fmt.Errorf("the Lease was last renewed %s ago, another agent may be the leader by now", age.Round(time.Millisecond))
	}
	return nil
}

var errNotLeading = errors.New("this agent is not the leader")

// release gives the Lease back, so that another agent need not wait for it to
// run out. When that fails, it runs out.
func (l *leadership) release(ctx context.Context) {
	l.lock.renewed.Store(nil)
	ctx, cancel := context.WithTimeout(ctx, l.timing.RetryPeriod)
	defer cancel()
	record, _, err := l.lock.Interface.Get(ctx)
	if err == nil && record.HolderIdentity == l.lock.Identity() {
		record.HolderIdentity = ""
		record.LeaseDurationSeconds = 1
		err = l.lock.Interface.Update(ctx, *record)
	}
	if err != nil {
		l.log.Warn("the Lease could not be given back, it runs out by itself", "err", err)
	}
}

// timedLock remembers when the Lease was last written by this agent.
type timedLock struct {
	resourcelock.Interface
	renewed atomic.Pointer[time.Time]
}

// Create implements resourcelock.Interface.
func (t *timedLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	began := time.Now()
	return t.timed(t.Interface.Create(ctx, record), began)
}

// Update implements resourcelock.Interface.
func (t *timedLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	began := time.Now()
	return t.timed(t.Interface.Update(ctx, record), began)
}

func (t *timedLock) timed(err error, began time.Time) error {
	if err == nil {
		t.renewed.Store(&began)
	}
	return err
}
