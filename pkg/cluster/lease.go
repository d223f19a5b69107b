package cluster

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Leadership is the state of the agent's Lease.
type Leadership struct {
	// Lease is nil if there is none.
	Lease *coordinationv1.Lease
	// HasLeader reports whether the holder renews the Lease.
	HasLeader bool
}

// Holder returns the identity that leads, or nothing if none does.
func (l Leadership) Holder() string {
	if !l.HasLeader {
		return ""
	}
	return *l.Lease.Spec.HolderIdentity
}

// LeaseReader reads the agent's Lease and determines whether its holder renews it.
//
// Lease.spec.renewTime follows the clock of the agent's node, and can only be compared with other
// clocks by an estimate. If it is within the lease duration of the API server's time, the holder is
// the leader. If it is not, the agent has stopped or one of the clocks is wrong. Then the reader waits
// for a renewal, which is independent of clocks, as leader election in client-go does. The reader
// remembers its observations: reuse it for later reads.
type LeaseReader struct {
	Client    coordinationv1client.LeasesGetter
	Namespace string
	// Now is the API server's time, see ServerTime.
	Now func() time.Time

	// read is the Lease as read last, and changedAt when it was found changed, by the
	// monotonic clock of this machine.
	read      *coordinationv1.Lease
	changedAt time.Time
	// renewed reports whether a renewal was observed, not only a Lease found.
	renewed bool
}

// rereadEvery is how often the Lease is read while a renewal is awaited.
const rereadEvery = 250 * time.Millisecond

// renewsWithin returns how long to wait for a renewal: with the usual lease of 15 s that is
// renewed every 2 s, it is 5 s.
func renewsWithin(duration time.Duration) time.Duration { return duration / 3 }

// Read returns at once, unless the holder seems to have stopped and was not observed yet.
func (r *LeaseReader) Read(ctx context.Context) (Leadership, error) {
	if err := r.observe(ctx); err != nil {
		return Leadership{}, err
	}
	if duration, held := leaseDuration(r.read); !held || r.valid(duration) {
		return Leadership{Lease: r.read, HasLeader: held}, nil
	}
	if err := r.awaitRenewal(ctx); err != nil {
		return Leadership{}, err
	}
	duration, held := leaseDuration(r.read)
	return Leadership{Lease: r.read, HasLeader: held && r.valid(duration)}, nil
}

// Observe is like Read, but requires an observed renewal. After an agent stops, its Lease looks valid until
// the lease duration expires.
func (r *LeaseReader) Observe(ctx context.Context) (Leadership, error) {
	if err := r.observe(ctx); err != nil {
		return Leadership{}, err
	}
	if err := r.awaitRenewal(ctx); err != nil {
		return Leadership{}, err
	}
	duration, held := leaseDuration(r.read)
	return Leadership{Lease: r.read, HasLeader: held && r.renewed && r.valid(duration)}, nil
}

// awaitRenewal reads the Lease until a renewal was observed, for as long as one may take.
func (r *LeaseReader) awaitRenewal(ctx context.Context) error {
	duration, held := leaseDuration(r.read)
	remaining := renewsWithin(duration) - time.Since(r.changedAt)
	if !held || r.renewed || remaining <= 0 {
		return nil
	}
	err := wait.PollUntilContextTimeout(ctx, rereadEvery, remaining, false, func(context.Context) (bool, error) {
		err := r.observe(ctx) // Not cut short by the end of the wait.
		return r.renewed, err
	})
	if err != nil && (ctx.Err() != nil || !wait.Interrupted(err)) {
		return fmt.Errorf("waiting for a renewal of lease %s/%s: %w", r.Namespace, api.Agent, err)
	}
	return nil
}

// valid reports whether the Lease that was read last is valid.
func (r *LeaseReader) valid(duration time.Duration) bool {
	if r.renewed {
		return time.Since(r.changedAt) <= duration
	}
	return r.Now().Sub(r.read.Spec.RenewTime.Time).Abs() <= duration
}

// observe reads the Lease and notes whether it was renewed.
func (r *LeaseReader) observe(ctx context.Context) error {
	lease, err := r.Client.Leases(r.Namespace).Get(ctx, api.Agent, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		r.read, r.renewed = nil, false
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading lease %s/%s: %w", r.Namespace, api.Agent, err)
	}
	switch {
	case r.read == nil || lease.UID != r.read.UID:
		r.changedAt, r.renewed = time.Now(), false
	case !lease.Spec.RenewTime.Equal(r.read.Spec.RenewTime):
		r.changedAt, r.renewed = time.Now(), true
	}
	r.read = lease
	return nil
}

// leaseDuration returns for how long a renewal counts, and whether there is a holder: a leader
// that ends gives the Lease back by emptying it.
func leaseDuration(lease *coordinationv1.Lease) (time.Duration, bool) {
	if lease == nil {
		return 0, false
	}
	spec := lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.RenewTime == nil || spec.LeaseDurationSeconds == nil {
		return 0, false
	}
	return time.Duration(*spec.LeaseDurationSeconds) * time.Second, true
}
