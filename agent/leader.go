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
	lease   *resourcelock.LeaseLock
	lock    *timedLock
	timing  LeaseTiming
	metrics *metrics.Metrics
	log     *slog.Logger
}

func newLeadership(options Options, metrics *metrics.Metrics) *leadership {
	lease := &resourcelock.LeaseLock{LockConfig: resourcelock.ResourceLockConfig{Identity: options.Identity}}
	lease.LeaseMeta.Namespace, lease.LeaseMeta.Name = options.Namespace, api.Agent
	lease.Labels = map[string]string{api.LabelName: api.LabelNameValue}
	return &leadership{lease: lease, lock: &timedLock{Interface: lease}, timing: options.Lease, metrics: metrics, log: options.Log}
}

// run does the work each time this agent is the leader, by a Lease that the client
// reads and writes, until ctx ends. The work's context ends with the leadership, and
// no new term begins before the work has returned. Its error ends the agent.
func (l *leadership) run(ctx context.Context, client kubernetes.Interface, work func(context.Context) error) error {
	l.lease.Client = client.CoordinationV1()
	for ctx.Err() == nil {
		failed := make(chan error, 1)
		term, cancel := context.WithCancelCause(ctx)
		// client-go would go on trying to renew a Lease that is another's.
		l.lock.taken = cancel
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
					cancel(nil)
				},
				OnStoppedLeading: func() { l.metrics.Leading(false) },
				OnNewLeader:      func(identity string) { l.log.Info("leader elected", "leader", identity) },
			},
		})
		if err != nil {
			cancel(nil)
			return fmt.Errorf("setting up leader election: %w", err)
		}
		elector.Run(term)
		cancel(nil)
		if l.lock.renewed.Load() != nil {
			err = <-failed
		} else if !l.lock.tried {
			continue // It never led, nor can the API server think so.
		}
		l.release(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
	}
	return nil
}

// fence returns an error unless this agent renewed the Lease so recently that
// nobody else can have taken it, and has not seen since that somebody has all the
// same, as by hand. It is asked before every side effect, because a process that
// was suspended finds out last.
func (l *leadership) fence() error {
	renewed := l.lock.renewed.Load()
	if renewed == nil {
		return errNotLeading
	}
	if holder := l.lock.other.Load(); holder != nil {
		return fmt.Errorf("the Lease is held by %q", *holder)
	}
	// Both clocks are asked: the monotonic one stands still while a machine
	// is suspended, the one on the wall may be set.
	age := max(time.Since(*renewed), time.Now().Round(0).Sub(renewed.Round(0)))
	if age > l.timing.RenewDeadline {
		return fmt.Errorf("the Lease was last renewed %s ago, another agent may be the leader by now", age.Round(time.Millisecond))
	}
	return nil
}

var errNotLeading = errors.New("it does not hold the Lease")

// release gives the Lease back, so that another agent need not wait for it to
// run out. When that fails, it runs out.
func (l *leadership) release(ctx context.Context) {
	l.lock.renewed.Store(nil)
	l.lock.tried = false
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

// timedLock remembers when the Lease was last written by this agent, and who had
// it when it was read last.
type timedLock struct {
	resourcelock.Interface
	renewed atomic.Pointer[time.Time]
	// tried: it was written, though the answer may have been lost.
	tried bool
	// other is who holds the Lease, "" for nobody, and nil for this agent.
	other atomic.Pointer[string]
	// taken ends the term of an agent whose Lease is somebody else's.
	taken context.CancelCauseFunc
}

// Get implements resourcelock.Interface.
func (t *timedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := t.Interface.Get(ctx)
	if err != nil || record.HolderIdentity == t.Identity() {
		return record, raw, err
	}
	t.other.Store(&record.HolderIdentity)
	if t.renewed.Load() != nil && record.HolderIdentity != "" { // What is nobody's is taken again.
		t.taken(fmt.Errorf("the Lease was taken by %q", record.HolderIdentity))
	}
	return record, raw, nil
}

// Create implements resourcelock.Interface.
func (t *timedLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	began := time.Now()
	t.tried = true
	return t.timed(t.Interface.Create(ctx, record), began)
}

// Update implements resourcelock.Interface.
func (t *timedLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	began := time.Now()
	t.tried = true
	return t.timed(t.Interface.Update(ctx, record), began)
}

func (t *timedLock) timed(err error, began time.Time) error {
	if err == nil {
		t.renewed.Store(&began)
		t.other.Store(nil)
	}
	return err
}
