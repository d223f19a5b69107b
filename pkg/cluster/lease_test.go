package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// leases returns the current state of one Lease.
type leases struct {
	coordinationv1client.LeaseInterface
	lease func() *coordinationv1.Lease
}

func (l leases) Leases(string) coordinationv1client.LeaseInterface { return l }

func (l leases) Get(context.Context, string, metav1.GetOptions) (*coordinationv1.Lease, error) {
	if lease := l.lease(); lease != nil {
		return lease, nil
	}
	return nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), api.Agent)
}

// lease of 15 s that is renewed every 2 s, by a clock that is off by skew, until it stops
// being renewed.
func lease(began time.Time, skew, stopsAfter time.Duration) *coordinationv1.Lease {
	age := min(time.Since(began).Truncate(2*time.Second), stopsAfter)
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
		HolderIdentity: ptr.To("a"), LeaseDurationSeconds: ptr.To[int32](15), RenewTime: ptr.To(metav1.NewMicroTime(began.Add(age + skew))),
	}}
}

// The clock of the test moves on when all goroutines wait.
func TestLeaderIsFoundDespiteClockSkew(t *testing.T) {
	const forever = 1000 * time.Hour
	for name, test := range map[string]struct {
		// skew of the agent's clock against the API server's.
		skew time.Duration
		// stopped is how long ago the holder stopped renewing.
		stopped time.Duration
		want    bool
		within  time.Duration
	}{
		"renewed":                               {0, -forever, true, 0},
		"agent 10 s ahead":                      {10 * time.Second, -forever, true, 0},
		"agent 20 s ahead":                      {20 * time.Second, -forever, true, 5 * time.Second},
		"agent 20 s behind":                     {-20 * time.Second, -forever, true, 5 * time.Second},
		"agent 10 min ahead":                    {10 * time.Minute, -forever, true, 5 * time.Second},
		"agent 10 min behind":                   {-10 * time.Minute, -forever, true, 5 * time.Second},
		"not renewed":                           {0, time.Minute, false, 5 * time.Second},
		"not renewed, the agent 10 min ahead":   {10 * time.Minute, time.Minute, false, 5 * time.Second},
		"not renewed, the agent 10 min behind":  {-10 * time.Minute, time.Minute, false, 5 * time.Second},
		"stopped a moment ago, may renew again": {0, 10 * time.Second, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				<-time.After(2 * time.Minute)
				read := time.Now()
				reader := LeaseReader{Now: time.Now, Client: leases{lease: func() *coordinationv1.Lease {
					return lease(began, test.skew, 2*time.Minute-test.stopped)
				}}}
				got, err := reader.Read(t.Context())
				if err != nil || got.HasLeader != test.want {
					t.Errorf("leads: %v, %v", got.HasLeader, err)
				}
				if took := time.Since(read); took > test.within {
					t.Errorf("it took %s, want at most %s", took, test.within)
				}
			})
		})
	}
}

// An agent that was killed a moment ago has left a Lease that Read takes for held.
func TestOnlyAnObservedRenewalCountsForObserve(t *testing.T) {
	for name, test := range map[string]struct {
		stopped time.Duration
		want    bool
		takes   time.Duration
	}{
		"renewed":            {-time.Hour, true, 2 * time.Second},
		"stopped 1 s ago":    {time.Second, false, 5 * time.Second},
		"stopped 1 hour ago": {time.Hour, false, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				<-time.After(2*time.Hour + time.Millisecond)
				read := time.Now()
				reader := LeaseReader{Now: time.Now, Client: leases{lease: func() *coordinationv1.Lease {
					return lease(began, 0, 2*time.Hour-test.stopped)
				}}}
				got, err := reader.Observe(t.Context())
				if err != nil || got.HasLeader != test.want {
					t.Errorf("leads: %v, %v", got.HasLeader, err)
				}
				if took := time.Since(read); took > test.takes {
					t.Errorf("it took %s, want at most %s", took, test.takes)
				}
			})
		})
	}
}

// Once a renewal was observed, no clock but this machine's monotonic one counts.
func TestObservedRenewalLastsForTheLeaseDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		stops := 10 * time.Minute
		reader := LeaseReader{Now: time.Now, Client: leases{lease: func() *coordinationv1.Lease {
			return lease(began, -time.Hour, stops)
		}}}
		every := time.NewTicker(2 * time.Second)
		defer every.Stop()
		for time.Since(began) < stops+time.Minute {
			read := time.Now()
			got, err := reader.Read(t.Context())
			if since := read.Sub(began); err != nil || got.HasLeader != (since <= stops+15*time.Second) {
				t.Fatalf("after %s: leads %v, %v", since, got.HasLeader, err)
			}
			if took := time.Since(read); took > 0 && read != began {
				t.Fatalf("after %s: it took %s", read.Sub(began), took)
			}
			<-every.C
		}
	})
}

func TestLeaseWithoutAHolder(t *testing.T) {
	for name, spec := range map[string]*coordinationv1.LeaseSpec{
		"there is none": nil,
		"given back":    {HolderIdentity: ptr.To(""), LeaseDurationSeconds: ptr.To[int32](1), RenewTime: ptr.To(metav1.NowMicro())},
		"never renewed": {HolderIdentity: ptr.To("a")},
	} {
		reader := LeaseReader{Now: time.Now, Client: leases{lease: func() *coordinationv1.Lease {
			if spec == nil {
				return nil
			}
			return &coordinationv1.Lease{Spec: *spec}
		}}}
		if got, err := reader.Read(t.Context()); err != nil || got.HasLeader || got.Holder() != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
