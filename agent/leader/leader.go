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

// ErrLost is the error of a leader that has lost its Lease, or may have.
var ErrLost = errors.New("this agent is not the leader")

// lostError is the cause, without the text of ErrLost.
type lostError struct{ error }

// Is makes it an ErrLost.
func (lostError) Is(target error) bool { return target == ErrLost }

func lost(format string, arguments ...any) error {
	return lostError{fmt.Errorf(format, arguments...)}
}

// Run calls work each time this agent becomes the leader, until ctx ends. The client reads and writes
// the Lease. The context of work ends with the leadership, and no new leadership begins before work has
// returned. An error of work ends Run.
func (l *Election) Run(ctx context.Context, client kubernetes.Interface, work func(context.Context) error) error {
	l.lease.Client = client.CoordinationV1()
	for ctx.Err() == nil {
		failed := make(chan error, 1)
		leadership, cancel := context.WithCancelCause(ctx)
		// Without this, client-go would continue to renew a Lease that another agent holds.
		l.lock.cancelLeadership = cancel
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock:          l.lock,
			LeaseDuration: l.Timing.Duration,
			RenewDeadline: l.Timing.RenewDeadline,
			RetryPeriod:   l.Timing.RetryPeriod,
			// Without a connection to the API server, the release of the Lease would let the work
			// continue for another RenewDeadline. So it is released below, after the work has ended.
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

// explained returns a context that ends together with client-go's context, which has no cause, and adds
// the cause for which the leadership ended.
func (l *Election) explained(ended, leadership context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, stop := context.WithCancelCause(context.WithoutCancel(ended))
	context.AfterFunc(ended, func() {
		cause := l.cause(leadership)
		l.losing.Store(errors.Is(cause, ErrLost))
		stop(cause)
	})
	return ctx, stop
}

// Fence returns an error unless this agent is certainly the leader: it renewed the Lease within
// RenewDeadline and has not observed another holder, such as after a manual edit. Call it before every
// side effect; a suspended process can be the last to notice.
func (l *Election) Fence() error {
	renewed := l.lock.renewed.Load()
	if renewed == nil {
		return errNotLeading
	}
	if holder := l.lock.other.Load(); holder != nil {
		return lost("the Lease is held by %q", *holder)
	}
	// Use both clocks: the monotonic clock stops while a machine is suspended, and the wall clock can be
	// set.
	age := max(time.Since(*renewed), time.Now().Round(0).Sub(renewed.Round(0)))
	if age > l.Timing.RenewDeadline {
		return lost("the Lease was last renewed %s ago, another agent may be the leader by now", age.Round(time.Millisecond))
	}
	return nil
}

var errNotLeading = lost("it does not hold the Lease")

// release clears the holder of the Lease, so that another agent need not wait until the Lease expires.
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
		l.Log.Warn("releasing the Lease failed; it expires", "err", err)
	}
}
