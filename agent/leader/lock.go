package leader

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// timedLock remembers when the Lease was last written by this agent, and who had
// it when it was read last.
type timedLock struct {
	resourcelock.Interface
	renewed atomic.Pointer[time.Time]
	// tried: it was written, though the answer may have been lost.
	tried bool
	// other is the holder that Get last read, "" if there was none. It is nil if this agent holds the
	// Lease, or if no read has succeeded.
	other atomic.Pointer[string]
	// cancelLeadership ends the leadership of an agent that lost its Lease to another.
	cancelLeadership context.CancelCauseFunc
}

// Get implements resourcelock.Interface.
func (t *timedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := t.Interface.Get(ctx)
	if err != nil || record.HolderIdentity == t.Identity() {
		return record, raw, err
	}
	t.other.Store(&record.HolderIdentity)
	if t.renewed.Load() != nil && record.HolderIdentity != "" { // A Lease without a holder can be acquired again.
		t.cancelLeadership(lost("the Lease was taken by %q", record.HolderIdentity))
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
