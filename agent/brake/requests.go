package brake

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Requests counts the API server's answers to this agent's requests, per second.
type Requests struct {
	clock clock.PassiveClock

	mutex   sync.Mutex
	seconds []second // Oldest first.
}

type second struct {
	at           time.Time
	refused, all int
}

// NewRequests returns Requests that have counted nothing.
func NewRequests(clock clock.PassiveClock) *Requests { return &Requests{clock: clock} }

// Wrap returns a transport whose answers are counted.
func (r *Requests) Wrap(next http.RoundTripper) http.RoundTripper { return counted{next, r} }

// since returns how many requests the API server answered after a time, and how many it refused.
func (r *Requests) since(at time.Time) (refused, all int) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, second := range r.seconds {
		if second.at.After(at) {
			refused, all = refused+second.refused, all+second.all
		}
	}
	return refused, all
}

func (r *Requests) count(refused bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	now := r.clock.Now().Truncate(time.Second)
	for len(r.seconds) > 0 && r.seconds[0].at.Before(now.Add(-config.LongestOver)) {
		r.seconds = r.seconds[1:]
	}
	if last := len(r.seconds) - 1; last < 0 || !r.seconds[last].at.Equal(now) {
		r.seconds = append(r.seconds, second{at: now})
	}
	last := &r.seconds[len(r.seconds)-1]
	last.all++
	if refused {
		last.refused++
	}
}

// counted is a transport that counts.
type counted struct {
	next     http.RoundTripper
	requests *Requests
}

// RoundTrip implements http.RoundTripper.
func (c counted) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(request)
	// An eviction is refused with 429 by a PodDisruptionBudget, and with 500 if a Pod has two.
	if err == nil && !strings.HasSuffix(request.URL.Path, "/eviction") {
		c.requests.count(response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= http.StatusInternalServerError)
	}
	return response, err
}

// WrappedRoundTripper lets client-go see the transport behind this one.
func (c counted) WrappedRoundTripper() http.RoundTripper { return c.next }
