package serverclock

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bench is a clock whose machine shows the right time unless a test changes that. The tests
// run in synctest bubbles: time passes only in sleeps.
type bench struct {
	*testing.T
	*Clock
	log bytes.Buffer
	// off is by how much this machine's wall clock is wrong.
	off time.Duration
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t}
	b.Clock = New(slog.New(slog.NewTextHandler(&b.log, nil)))
	b.wall = func() time.Time { return time.Now().Round(0).Add(b.off) }
	return b
}

// machine makes a clock on a machine whose clock is wrong.
func machine(t *testing.T, off time.Duration) *bench {
	b := newBench(t)
	b.off, b.base = off, b.base.Add(off)
	return b
}

// answer shows the time of an API server whose clock is off.
func (b *bench) answer(off time.Duration) {
	b.read(time.Now().Add(off).UTC().Format(http.TimeFormat))
}

// wants checks by how much Now is off.
func (b *bench) wants(what string, off time.Duration) {
	b.Helper()
	if got := b.Now().Sub(time.Now()); (got - off).Abs() > tolerance {
		b.Errorf("%s: the clock is off by %s, want %s", what, got, off)
	}
}

func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t) })
}

func TestFirstAgreeingAnswersSetTheClock(t *testing.T) {
	for name, test := range map[string]struct {
		machine time.Duration
		answers []time.Duration
		want    time.Duration
	}{
		"machine clock is correct":                      {0, []time.Duration{0, 0, 0}, 0},
		"the machine is ahead":                          {25 * time.Minute, []time.Duration{0, 0, 0}, 0},
		"the machine is behind":                         {-2 * time.Hour, []time.Duration{0, 0, 0}, 0},
		"slow responses":                                {0, []time.Duration{-5 * time.Second, -9 * time.Second, -time.Second}, 0},
		"one answer is not enough":                      {0, []time.Duration{time.Hour}, 0},
		"one wrong answer, first":                       {0, []time.Duration{time.Hour, 0, 0}, 0},
		"one wrong answer, last":                        {0, []time.Duration{0, 0, time.Hour}, 0},
		"two API servers, and the machine with one":     {0, []time.Duration{time.Minute, 0, time.Minute}, 0},
		"two API servers ahead: the nearer of them":     {0, []time.Duration{2 * time.Minute, time.Minute, 2 * time.Minute}, time.Minute},
		"two API servers behind: the nearer of them":    {0, []time.Duration{-2 * time.Minute, -time.Minute, -2 * time.Minute}, -time.Minute},
		"wrong machine clock, and one server disagrees": {-time.Hour, []time.Duration{0, time.Minute, 0}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := machine(t, test.machine)
				for _, off := range test.answers {
					b.answer(off)
				}
				b.wants(name, test.want)
			})
		})
	}
}

func TestAnswerWithoutADateChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t)
		for range quorum {
			b.read("")
			b.read("yesterday")
		}
		b.wants("without a date", 0)
	})
}

// Whatever the answers say: Now neither moves backwards nor jumps, and two API servers that
// differ do not fill the log.
func TestNowIsSteady(t *testing.T) {
	const minute = time.Minute
	for name, test := range map[string]struct {
		answers []time.Duration // one every 100ms, over and over for an hour
		want    time.Duration   // after an hour
		lines   int             // in the log, at most
	}{
		"two API servers a minute apart":      {[]time.Duration{0, minute}, 0, 6},
		"one wildly wrong answer in a minute": {append(make([]time.Duration, 599), 365*24*time.Hour), 0, 6},
		"one in a minute, in the past":        {append(make([]time.Duration, 599), -365*24*time.Hour), 0, 6},
		"all API servers set forwards":        {[]time.Duration{5 * minute}, 5 * minute, 1},
		"all API servers set backwards":       {[]time.Duration{-5 * minute}, -5 * minute, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBench(t)
				for range quorum {
					b.answer(0)
				}
				before := b.Now()
				for i := range 36000 {
					b.answer(test.answers[i%len(test.answers)])
					now, passed := b.Now(), 100*time.Millisecond
					if i > 0 {
						if ran := now.Sub(before); ran < passed*9/10-time.Microsecond || ran > passed*11/10+time.Microsecond {
							t.Fatalf("answer %d: Now ran %s in %s", i, ran, passed)
						}
					}
					before = now
					<-time.After(passed)
				}
				b.wants("after an hour", test.want)
				if lines := strings.Count(b.log.String(), "\n"); lines > test.lines {
					t.Errorf("%d lines were logged:\n%s", lines, b.log.String())
				}
			})
		})
	}
}

// The monotonic clock stands still in that time. When it continues, the wall clock and the API
// servers agree about how late it is.
func TestNowCatchesUpAfterTheMachineWasSuspended(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t)
		for range quorum {
			b.answer(0)
		}
		<-time.After(2 * window)
		b.off = 8 * time.Hour // Of the wall clock and of the API server, as the monotonic clock sees them.
		b.answer(b.off)
		<-time.After(2 * window)
		b.answer(b.off)
		b.wants("awake", 8*time.Hour)
	})
}

func TestDeadlineIsNotEarlyByOneWrongClock(t *testing.T) {
	const deadline = time.Hour
	for name, test := range map[string]struct {
		// deleted is how long ago the Node was deleted when the agent first sees it.
		deleted, machine time.Duration
		answers          []time.Duration
		// passes is after how long the deadline has passed.
		passes time.Duration
	}{
		"all are right": {0, 0, []time.Duration{0}, deadline},
		"all are right, and the agent has just begun":        {50 * time.Minute, 0, []time.Duration{0}, 10 * time.Minute},
		"one of two API servers is ahead":                    {0, 0, []time.Duration{0, time.Minute}, deadline},
		"one answer is wildly ahead":                         {0, 0, []time.Duration{0, 0, 0, 365 * 24 * time.Hour}, deadline},
		"the only API server is ahead":                       {0, 0, []time.Duration{2 * time.Hour}, deadline},
		"the only API server is behind":                      {0, 0, []time.Duration{-2 * time.Hour}, deadline},
		"the machine is ahead":                               {0, 2 * time.Hour, []time.Duration{0}, deadline},
		"the machine is behind":                              {0, -2 * time.Hour, []time.Duration{0}, deadline},
		"no answers":                                         {50 * time.Minute, 0, nil, deadline},
		"one of two is ahead, and the agent has just begun":  {50 * time.Minute, 0, []time.Duration{time.Hour, 0}, 10 * time.Minute},
		"the machine is ahead, and the agent has just begun": {50 * time.Minute, 2 * time.Hour, []time.Duration{0}, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := machine(t, test.machine)
				elapsed, began := b.Elapsed(time.Now().Add(-test.deleted)), time.Now()
				for elapsed() < deadline {
					for _, off := range test.answers {
						b.answer(off)
					}
					<-time.After(time.Second)
				}
				if took := time.Since(began); took < test.passes || took > test.passes+2*time.Second {
					t.Errorf("the deadline passed after %s, want %s", took, test.passes)
				}
			})
		})
	}
}
