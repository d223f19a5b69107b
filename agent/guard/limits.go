package guard

import (
	"context"

	"k8s.io/client-go/util/flowcontrol"
)

// Limits on what requests can cause. Without client certificates the guard cannot tell an API
// server from any other caller, so they hold for both; they are far above what people and
// controllers do.
const (
	// maxReads is how many requests the guard reads Nodes and pods for at the same time.
	maxReads = 32
	// unverifiedRate is how many requests of callers that are not authenticated it reads for
	// per second, after a burst.
	unverifiedRate, unverifiedBurst = 200, 1000
	// batchRate is how many batches it evaluates per second, after a burst. Each lists Nodes
	// if a rule needs that, and writes the ledger once.
	batchRate, batchBurst = 20, 40
)

type limits struct {
	reads      chan struct{}
	unverified flowcontrol.RateLimiter
	batches    flowcontrol.RateLimiter
}

func newLimits() limits {
	return limits{
		reads:      make(chan struct{}, maxReads),
		unverified: flowcontrol.NewTokenBucketRateLimiter(unverifiedRate, unverifiedBurst),
		batches:    flowcontrol.NewTokenBucketRateLimiter(batchRate, batchBurst),
	}
}

// acquire waits until the guard may read for one more request, and reports whether it had to
// wait. It returns an error if ctx ends before that.
func (l limits) acquire(ctx context.Context, verified bool) (release func(), waited bool, err error) {
	if !verified && !l.unverified.TryAccept() {
		waited = true
		if err := l.unverified.Wait(ctx); err != nil {
			return nil, true, err
		}
	}
	release = func() { <-l.reads }
	select {
	case l.reads <- struct{}{}:
		return release, waited, nil
	default:
	}
	select {
	case l.reads <- struct{}{}:
		return release, true, nil
	case <-ctx.Done():
		return nil, true, context.Cause(ctx)
	}
}
