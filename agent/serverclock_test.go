package agent

import (
	"log/slog"
	"net/http"
	"testing"
	"time"
)

func TestTheServersClockCountsWhereTheTwoDiffer(t *testing.T) {
	clock := serverClock{log: slog.New(slog.DiscardHandler)}
	for _, test := range []struct {
		name    string
		shown   time.Duration
		differs bool
	}{
		{"an answer that was on its way", -5 * time.Second, false},
		{"an hour ahead", time.Hour, true},
		{"still", time.Hour - time.Second, true},
		{"an hour behind", -time.Hour, true},
		{"set right", 0, false},
	} {
		clock.read(time.Now().Add(test.shown).UTC().Format(http.TimeFormat))
		off := time.Until(clock.Now())
		if !test.differs && off.Abs() > time.Second || test.differs && (off-test.shown).Abs() > clockTolerance {
			t.Errorf("%s, %s: the clock is off by %s", test.name, test.shown, off)
		}
	}
	clock.read("")
	clock.read("yesterday")
	if off := time.Until(clock.Now()).Abs(); off > time.Second {
		t.Errorf("after an answer without a date the clock is off by %s", off)
	}
}
