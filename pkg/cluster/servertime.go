package cluster

import (
	"net/http"
	"sync"
	"time"
)

// accuracy is how far apart two clocks may seem that agree: the Date header has full
// seconds, and the response was on its way for a while.
const accuracy = 2 * time.Second

// ServerTime estimates the API server's time. Timestamps in the cluster are compared with it
// instead of the time of this machine, whose clock may be wrong.
//
// It follows the newest response. If the clock of that API server is wrong, the displayed ages are
// wrong, but LeaseReader still finds the leader.
type ServerTime struct {
	// Local is the clock of this machine.
	Local func() time.Time

	lock   sync.Mutex
	offset time.Duration
}

// Now returns the API server's time. Before the first response, and if both clocks agree, it is
// the time of this machine.
func (s *ServerTime) Now() time.Time {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.Local().Add(s.offset)
}

// Wrap returns a transport that reads the time from each response.
func (s *ServerTime) Wrap(next http.RoundTripper) http.RoundTripper {
	return dateReader{next: next, observe: s.observe, local: s.Local}
}

// observe takes a server's time that was asked for and arrived at these local times.
func (s *ServerTime) observe(date, sent, received time.Time) {
	// A Date of 12:00:00 is any time of that second. So the middle of the second is compared with
	// the middle of the round trip.
	offset := date.Add(time.Second / 2).Sub(sent.Add(received.Sub(sent) / 2))
	if offset.Abs() <= max(accuracy, received.Sub(sent)) {
		offset = 0
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.offset = offset
}

type dateReader struct {
	next    http.RoundTripper
	observe func(date, sent, received time.Time)
	local   func() time.Time
}

// RoundTrip passes the request on.
func (d dateReader) RoundTrip(request *http.Request) (*http.Response, error) {
	sent := d.local()
	response, err := d.next.RoundTrip(request)
	if err != nil {
		return response, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		d.observe(date, sent, d.local())
	}
	return response, nil
}

// WrappedRoundTripper returns the transport inside, for client-go to close its connections.
func (d dateReader) WrappedRoundTripper() http.RoundTripper { return d.next }
