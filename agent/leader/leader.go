// Package leader elects one agent by a Lease, runs its work, and keeps an agent that lost
// the Lease from changing anything.
package leader

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

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Timing is the timing of leader election, see client-go's leaderelection.
type Timing struct {
	// Duration after which others may take a Lease that was not renewed.
	Duration time.Duration
	// RenewDeadline is how long the leader tries to renew before it gives up.
	RenewDeadline time.Duration
	// RetryPeriod is how long to wait between tries.
	RetryPeriod time.Duration
}

// DefaultTiming is what Kubernetes' own components use.
func DefaultTiming() Timing {
	return Timing{Duration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second}
}

// Options are what an Election works with. All are required.
type Options struct {
	// Namespace is that of the Lease, Identity the name that this agent holds it by.
	Namespace, Identity string
	Timing              Timing
	// Leading is called when this agent becomes the leader, and when it no longer is.
	Leading func(bool)
	Log     *slog.Logger
}

// Election makes sure that one agent works.
type Election struct {
	Options
	lease *resourcelock.LeaseLock
	lock  *timedLock
	// refused counts the requests of a leadership that the fence refused, omitted the log records
	// about that.
	refused, omitted atomic.Int64
	// losing is true from the loss of the Lease until the work has returned.
	losing atomic.Bool
}

// New returns an election in which this agent does not take part yet.
func New(options Options) *Election {
	lease := &resourcelock.LeaseLock{LockConfig: resourcelock.ResourceLockConfig{Identity: options.Identity}}
	lease.LeaseMeta.Namespace, lease.LeaseMeta.Name = options.Namespace, api.Agent
	lease.Labels = map[string]string{api.LabelName: api.LabelNameValue}
	return &Election{Options: options, lease: lease, lock: &timedLock{Interface: lease}}
}

// ErrLost is why a leader stops whose Lease is another's, or may be.
var ErrLost = errors.New("this agent is not the leader")

// lostError tells why, without repeating ErrLost.
type lostError struct{ error }

// Is makes it an ErrLost.
func (lostError) Is(target error) bool { return target == ErrLost }

func lost(format string, arguments ...any) error {
	return lostError{fmt.Errorf(format, arguments...)}
}

// Run does the work each time this agent is the leader, by a Lease that the client
// reads and writes, until ctx ends. The work's context ends with the leadership, and
// no new leadership begins before the work has returned. Its error ends the agent.
func (l *Election) Run(ctx context.Context, client kubernetes.Interface, work func(context.Context) error) error {
	l.lease.Client = client.CoordinationV1()
	for ctx.Err() == nil {
		failed := make(chan error, 1)
		leadership, cancel := context.WithCancelCause(ctx)
		// client-go would go on trying to renew a Lease that is another's.
		l.lock.cancelLeadership = cancel
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock:          l.lock,
			LeaseDuration: l.Timing.Duration,
			RenewDeadline: l.Timing.RenewDeadline,
			RetryPeriod:   l.Timing.RetryPeriod,
			// Giving the Lease back while cut off from the API server
			// would keep the work going for another RenewDeadline; it is
			// given back below, after the work has ended.
			ReleaseOnCancel: false,
			Name:            api.Agent,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					l.Leading(true)
					l.Log.Info("leading", "identity", l.lock.Identity())
					ctx, stop := l.explained(ctx, leadership)
					defer stop(nil)
					err := work(ctx)
					if ctx.Err() != nil {
						err = nil
					}
					failed <- err
					cancel(nil)
				},
				OnStoppedLeading: func() { l.Leading(false) },
				OnNewLeader:      func(identity string) { l.Log.Info("leader elected", "leader", identity) },
			},
		})
		if err != nil {
			cancel(nil)
			return fmt.Errorf("setting up leader election: %w", err)
		}
		elector.Run(leadership)
		cause := l.cause(leadership)
		cancel(cause)
		if l.lock.renewed.Load() != nil {
			if errors.Is(cause, ErrLost) {
				l.Log.Error("the Lease was lost, the next leader continues the cleanups", "err", cause)
			}
			err = <-failed
			l.losing.Store(false)
			if refused, omitted := l.refused.Swap(0), l.omitted.Swap(0); refused+omitted > 0 {
				l.Log.Info("stopped as the leader", "refusedRequests", refused, "omittedLogRecords", omitted)
			}
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

// cause returns why a leadership has ended.
func (l *Election) cause(leadership context.Context) error {
	if leadership.Err() != nil {
		return context.Cause(leadership)
	}
	return lost("the Lease could not be renewed within %s", l.Timing.RenewDeadline)
}

// explained returns a context that ends with one of client-go's, which does not tell why, and
// has the cause for which the leadership ended.
func (l *Election) explained(ended, leadership context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, stop := context.WithCancelCause(context.WithoutCancel(ended))
	context.AfterFunc(ended, func() {
		cause := l.cause(leadership)
		l.losing.Store(errors.Is(cause, ErrLost))
		stop(cause)
	})
	return ctx, stop
}

// Fence returns an error unless this agent renewed the Lease so recently that
// nobody else can have taken it, and has not seen since that another one has all the
// same, as by hand. It is asked before every side effect, because a process that
// was suspended finds out last.
func (l *Election) Fence() error {
	renewed := l.lock.renewed.Load()
	if renewed == nil {
		return errNotLeading
	}
	if holder := l.lock.other.Load(); holder != nil {
		return lost("the Lease is held by %q", *holder)
	}
	// Both clocks are asked: the monotonic one stands still while a machine
	// is suspended, the one on the wall may be set.
	age := max(time.Since(*renewed), time.Now().Round(0).Sub(renewed.Round(0)))
	if age > l.Timing.RenewDeadline {
		return lost("the Lease was last renewed %s ago, another agent may be the leader by now", age.Round(time.Millisecond))
	}
	return nil
}

var errNotLeading = lost("it does not hold the Lease")

// release gives the Lease back, so that another agent need not wait for it to
// run out. When that fails, it runs out.
func (l *Election) release(ctx context.Context) {
	l.lock.renewed.Store(nil)
	l.lock.tried = false
	ctx, cancel := context.WithTimeoutCause(ctx, l.Timing.RetryPeriod, fmt.Errorf("no answer within %s", l.Timing.RetryPeriod))
	defer cancel()
	record, _, err := l.lock.Interface.Get(ctx)
	if err == nil && record.HolderIdentity == l.lock.Identity() {
		record.HolderIdentity = ""
		record.LeaseDurationSeconds = 1
		err = l.lock.Interface.Update(ctx, *record)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		l.Log.Warn("the Lease could not be given back, it runs out by itself", "err", err)
	}
}
