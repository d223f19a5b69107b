// Package serverclock estimates the time of the API servers, which set the times on objects. The clock
// of the agent's machine may be wrong.
//
// The agent reads the time from the Date header of responses. A response does not name its API server:
// there may be a load balancer in between, or one connection leads to one server for hours. The failure model is therefore:
//
//   - any one clock is wrong by any amount: that of one API server, or that of this machine;
//   - a Date is up to a second early (it has whole seconds), and older if the answer is late;
//   - the agent may see answers of the wrong server alone, for any length of time.
//
// Two readings follow from it. Now is for times that are recorded, and for retries. It has
// to be steady, and may be wrong where an API server is. Elapsed is for deadlines, after
// which a Node is released without its cleanup. It may be late, and is never early.
package serverclock

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

const (
	// tolerance is the difference between two clocks that counts as none: a response has
	// the time in whole seconds, and can take some seconds.
	tolerance = 10 * time.Second
	// window is how long an answer counts. A leader renews its Lease every two seconds.
	window = time.Minute
	// quorum is how many answers the clock is first set by.
	quorum = 3
	// slewShare is the part of the passing time by which Now is corrected: durations that
	// are measured in that time are wrong by no more than that.
	slewShare = 10
	// warnEvery is how often the clock logs at most.
	warnEvery = 10 * time.Minute
)

// Interface is what Clock does; tests have others.
type Interface interface {
	clock.WithTickerAndDelayedExecution
	// Elapsed returns a function that returns the minimum time that has passed since an API server set
	// a time.
	Elapsed(since time.Time) func() time.Duration
}

// Clock implements Interface. Timers are the machine's.
//
// Now keeps a correction of this machine's monotonic clock. It is set when three answers
// have come. From then on it changes only if all answers of the last minute agree that it is
// wrong by more than ten seconds, and then towards the nearest of them. So two API servers
// that are a minute apart do not move it to and fro, and one wrong answer does not move it at
// all. A change is spread over time: Now runs a tenth faster or slower until it has arrived,
// and never moves backwards. It moves forwards at once if this machine's wall clock says the
// same as the answers, as after the machine was suspended.
type Clock struct {
	clock.RealClock
	log *slog.Logger
	// wall reads this machine's wall clock, which may be set at any time.
	wall func() time.Time
	// base is when the clock was made. The monotonic clock counts from then.
	base time.Time

	mutex   sync.Mutex
	seconds []second // those of the window with an answer, oldest first
	answers int      // in all
	set     bool
	// Now is the monotonic clock plus correction, as of the time adjusted; target is where
	// the correction is going.
	correction, target, adjusted time.Duration
	warned                       time.Duration
}

// second holds the answers of one second. Times are relative to Clock.base.
type second struct {
	at time.Duration
	// earliest and latest are the corrections that the answers ask for.
	earliest, latest time.Duration
}

// New returns a clock that shows this machine's time until it has read enough answers.
func New(log *slog.Logger) *Clock {
	return &Clock{log: log, wall: func() time.Time { return time.Now().Round(0) }, base: time.Now(), warned: -warnEvery}
}

// Wrap makes the clock read the answers that a client gets.
func (c *Clock) Wrap(config *rest.Config) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return reading{next, c} })
}

// Now implements clock.PassiveClock.
func (c *Clock) Now() time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	passed := time.Since(c.base)
	return c.base.Round(0).Add(passed + c.slew(passed))
}

// Since implements clock.PassiveClock.
func (c *Clock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

// Elapsed returns a function that tells how long ago a time was that an API server set, at
// least. It is the longer of two lower bounds: how long this agent has watched, counted from
// the call of Elapsed by the monotonic clock; and what this machine's wall clock and the
// earliest answer of the last minute both allow. One wrong clock, of whatever machine, makes
// it early in no case. It makes it late by no more than what passed before the call.
func (c *Clock) Elapsed(since time.Time) func() time.Duration {
	called := time.Now()
	return func() time.Duration {
		watched := time.Since(called)
		c.mutex.Lock()
		defer c.mutex.Unlock()
		if len(c.seconds) == 0 {
			return watched
		}
		earliest, _ := c.asked()
		byServers := c.base.Round(0).Add(time.Since(c.base) + earliest).Sub(since)
		return max(watched, min(byServers, c.wall().Sub(since)))
	}
}

// read takes the time from a Date header.
func (c *Clock) read(date string) {
	shown, err := http.ParseTime(date)
	if err != nil {
		return // Not every proxy passes it on.
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	passed := time.Since(c.base)
	c.note(passed, shown.Sub(c.base.Round(0).Add(passed)))
	if c.answers < quorum {
		return
	}
	earliest, latest := c.asked()
	before := c.target
	switch {
	case c.target < earliest-tolerance:
		c.target = earliest
	case c.target > latest+tolerance:
		c.target = latest
	}
	c.slew(passed)
	agreed := c.target > c.correction && c.wall().Sub(c.base.Round(0).Add(passed+c.target)).Abs() <= tolerance
	if !c.set || agreed {
		c.set, c.correction, c.adjusted = true, c.target, passed
	}
	switch {
	case c.target != before:
		c.warn(passed, "this machine's clock differs from the API server's, whose time is used", "difference", c.target.Round(time.Second))
	case latest-earliest > 2*tolerance:
		c.warn(passed, "the API servers' clocks differ, or one of their answers was wrong; synchronize them", "difference", (latest - earliest).Round(time.Second))
	}
}

// note records an answer and drops those that count no longer.
func (c *Clock) note(passed, asks time.Duration) {
	c.answers++
	at := passed.Truncate(time.Second)
	if last := len(c.seconds) - 1; last >= 0 && c.seconds[last].at == at {
		c.seconds[last].earliest, c.seconds[last].latest = min(c.seconds[last].earliest, asks), max(c.seconds[last].latest, asks)
	} else {
		c.seconds = append(c.seconds, second{at, asks, asks})
	}
	for c.seconds[0].at < at-window {
		c.seconds = c.seconds[1:]
	}
}

// asked returns the smallest and the largest correction that an answer of the window asks for.
func (c *Clock) asked() (earliest, latest time.Duration) {
	earliest, latest = c.seconds[0].earliest, c.seconds[0].latest
	for _, second := range c.seconds[1:] {
		earliest, latest = min(earliest, second.earliest), max(latest, second.latest)
	}
	return earliest, latest
}

// slew moves the correction towards its target, as far as the time that has passed allows.
func (c *Clock) slew(passed time.Duration) time.Duration {
	most := (passed - c.adjusted) / slewShare
	c.correction += min(max(c.target-c.correction, -most), most)
	c.adjusted = passed
	return c.correction
}

func (c *Clock) warn(passed time.Duration, message string, arguments ...any) {
	if passed-c.warned >= warnEvery {
		c.warned = passed
		c.log.Warn(message, arguments...)
	}
}

// reading is a transport whose answers the clock reads.
type reading struct {
	next  http.RoundTripper
	clock *Clock
}

// RoundTrip implements http.RoundTripper.
func (r reading) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.next.RoundTrip(request)
	if err == nil {
		r.clock.read(response.Header.Get("Date"))
	}
	return response, err
}

// WrappedRoundTripper lets client-go see the transport behind this one.
func (r reading) WrappedRoundTripper() http.RoundTripper { return r.next }
