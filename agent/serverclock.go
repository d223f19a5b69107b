package agent

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// clockTolerance is by how much the two clocks may differ until the API server's counts:
// an answer tells the time in whole seconds, and may be on its way for some.
const clockTolerance = 10 * time.Second

// serverClock tells the time as the API server does, which says when a Node was deleted:
// by a clock of its own an agent could find that a deadline has passed that has not, and
// its successor wait for what it wrote down. Timers, and how long something takes, are
// the machine's.
type serverClock struct {
	clock.RealClock
	ahead atomic.Int64 // nanoseconds, by which this machine's clock is ahead
	log   *slog.Logger
}

// Now implements clock.PassiveClock.
func (c *serverClock) Now() time.Time { return c.RealClock.Now().Add(-time.Duration(c.ahead.Load())) }

// Since implements clock.PassiveClock.
func (c *serverClock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

// follow has the clock read the time off the answers to what a client asks.
func (c *serverClock) follow(config *rest.Config) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err == nil {
				c.read(response.Header.Get("Date"))
			}
			return response, err
		})
	})
}

func (c *serverClock) read(date string) {
	shown, err := http.ParseTime(date)
	if err != nil {
		return // Not every proxy passes it on.
	}
	ahead := c.RealClock.Now().Sub(shown)
	if ahead.Abs() <= clockTolerance {
		ahead = 0
	}
	was := time.Duration(c.ahead.Load())
	if (ahead-was).Abs() <= clockTolerance && ahead != 0 {
		return
	}
	if c.ahead.CompareAndSwap(int64(was), int64(ahead)) && was != ahead {
		c.log.Warn("this machine's clock is not the API server's, whose time counts", "ahead", ahead.Round(time.Second))
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
