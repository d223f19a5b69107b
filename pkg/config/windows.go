package config

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // The agent's image has no time zones, and Windows has none either.

	"github.com/robfig/cron/v3"
)

// Windows are the times at which cleanups may begin; none means always.
type Windows []Window

// Window opens by a schedule, and closes after a duration.
type Window struct {
	Duration time.Duration
	schedule *cron.SpecSchedule
}

// opening returns the first opening after a time; zero if there is none within five years.
func (w Window) opening(after time.Time) time.Time {
	return w.schedule.Next(after.In(w.schedule.Location))
}

// OpenSince returns when the window that is open at a time opened. It is zero if there are no windows.
// open is false outside the windows.
func (w Windows) OpenSince(now time.Time) (opened time.Time, open bool) {
	for _, window := range w {
		at := window.opening(now.Add(-window.Duration))
		if at.IsZero() || at.After(now) {
			continue
		}
		if !open || at.Before(opened) {
			opened, open = at, true
		}
	}
	return opened, open || len(w) == 0
}

// Next returns when the next window opens.
func (w Windows) Next(now time.Time) time.Time {
	var next time.Time
	for _, window := range w {
		if at := window.opening(now); next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
}

type fileWindow struct {
	// Schedule is when the window opens: the five fields of cron, or a macro such as @daily.
	Schedule string `yaml:"schedule" jsonschema:"required"`
	// Duration is how long the window stays open, such as 4h.
	Duration *duration `yaml:"duration" jsonschema:"required"`
	// TimeZone is an IANA time zone such as Europe/Berlin.
	TimeZone string `yaml:"timeZone" jsonschema:"default=UTC"`
}

// reference is the time with which schedules are validated.
var reference = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (p *parser) windows(written []fileWindow) Windows {
	var windows Windows
	for i, one := range written {
		path := fmt.Sprintf("windows[%d]", i)
		window := Window{Duration: p.positive(path+".duration", one.Duration, 0)}
		if one.Duration == nil {
			p.fault(path+".duration", "is missing: how long the window stays open, such as 4h")
		}
		zone, err := time.LoadLocation(one.TimeZone) // "" is UTC.
		if err != nil || one.TimeZone == "Local" {
			p.fault(path+".timeZone", "%q is not an IANA time zone such as Europe/Berlin", one.TimeZone)
			zone = time.UTC
		}
		if window.schedule, err = parseSchedule(one.Schedule); err != nil {
			p.fault(path+".schedule", "%q is not a cron schedule such as \"0 2 * * 1-5\": %v", one.Schedule, err)
			continue
		}
		window.schedule.Location = zone
		if window.opening(reference).IsZero() {
			p.fault(path+".schedule", "%q never opens the window", one.Schedule)
		}
		windows = append(windows, window)
	}
	return windows
}

// parseSchedule reads the five fields of cron. The time zone is a separate field.
func parseSchedule(text string) (*cron.SpecSchedule, error) {
	if strings.Contains(text, "TZ=") {
		return nil, fmt.Errorf("set the time zone in timeZone")
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return nil, err
	}
	schedule, is := parsed.(*cron.SpecSchedule)
	if !is {
		return nil, fmt.Errorf("@every is not supported")
	}
	return schedule, nil
}
