package config

import (
	"strings"
	"testing"
	"time"
)

func TestWindows(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	const (
		nightly = "- {schedule: '0 2 * * *', duration: 4h}\n"
		weekday = "- {schedule: '0 2 * * 1-5', duration: 4h, timeZone: Europe/Berlin}\n"
		long    = "- {schedule: '0 * * * *', duration: 90m}\n"
	)
	for name, test := range map[string]struct {
		windows, now string
		since        string // "" outside the windows
		next         string
	}{
		"before":                              {nightly, "2026-12-01T01:59:59Z", "", "2026-12-01T02:00:00Z"},
		"at the opening":                      {nightly, "2026-12-01T02:00:00Z", "2026-12-01T02:00:00Z", "2026-12-02T02:00:00Z"},
		"inside":                              {nightly, "2026-12-01T05:59:59Z", "2026-12-01T02:00:00Z", "2026-12-02T02:00:00Z"},
		"at the end":                          {nightly, "2026-12-01T06:00:00Z", "", "2026-12-02T02:00:00Z"},
		"in another time zone":                {weekday, "2026-12-01T01:30:00Z", "2026-12-01T01:00:00Z", "2026-12-02T01:00:00Z"},
		"in summer time":                      {weekday, "2026-07-01T00:30:00Z", "2026-07-01T00:00:00Z", "2026-07-02T00:00:00Z"},
		"at the weekend":                      {weekday, "2026-12-05T02:00:00Z", "", "2026-12-07T01:00:00Z"},
		"the first of two that overlap":       {long, "2026-12-01T02:10:00Z", "2026-12-01T01:00:00Z", "2026-12-01T03:00:00Z"},
		"one of two":                          {nightly + "- {schedule: '0 12 * * *', duration: 1h}\n", "2026-12-01T12:30:00Z", "2026-12-01T12:00:00Z", "2026-12-02T02:00:00Z"},
		"between two":                         {nightly + "- {schedule: '0 12 * * *', duration: 1h}\n", "2026-12-01T07:00:00Z", "", "2026-12-01T12:00:00Z"},
		"over midnight":                       {"- {schedule: '0 22 * * *', duration: 4h}\n", "2026-12-01T01:00:00Z", "2026-11-30T22:00:00Z", "2026-12-01T22:00:00Z"},
		"on a day that is not in every month": {"- {schedule: '0 0 29 2 *', duration: 24h}\n", "2026-12-01T01:00:00Z", "", "2028-02-29T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := Parse([]byte(header+oneStep+"windows:\n"+test.windows), catalog())
			if err != nil {
				t.Fatal(err)
			}
			now := at(test.now)
			since, open := parsed.Windows.OpenSince(now)
			if open != (test.since != "") || open && !since.Equal(at(test.since)) {
				t.Errorf("open is %v since %s, want %q", open, since, test.since)
			}
			if next := parsed.Windows.Next(now); !next.Equal(at(test.next)) {
				t.Errorf("the next one opens at %s, want %s", next, test.next)
			}
		})
	}
}

func TestWithoutWindowsCleanupsMayAlwaysBegin(t *testing.T) {
	if since, open := (Windows{}).OpenSince(reference); !open || !since.IsZero() {
		t.Errorf("open is %v since %s", open, since)
	}
}

func TestFaultyWindowsAndBrake(t *testing.T) {
	const written = header + oneStep + `windows:
- {schedule: "0 25 * * *", duration: 4h}
- {schedule: "CRON_TZ=UTC 0 2 * * *", duration: 4h}
- {schedule: "@every 1h", duration: 4h}
- {schedule: "0 0 31 2 *", duration: 4h}
- {schedule: "0 2 * * *", duration: -4h}
- {schedule: "0 2 * * *"}
- {schedule: "0 2 * * *", duration: 4h, timeZone: Europe/Berlinn}
- {schedule: "0 2 * * *", duration: 4h, timeZone: Local}
- {duration: 4h, zone: UTC}
brake: {releaseAfter: 0s}
`
	// Each document has one brake.
	const alerting = header + oneStep + "brake: {alerts: {url: prometheus, bearerToken: {secretKeyRef: {name: a}}}}\n"
	_, err := Parse([]byte(alerting), catalog())
	for _, want := range []string{"line 4: brake.alerts.url: must be an http or https URL", "brake.alerts.names: is empty", "brake.alerts.bearerToken: secretKeyRef needs name and key"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	const refusing = header + oneStep + "brake: {apiServerErrors: {percent: 100, over: 1h}}\n"
	if _, err := Parse([]byte(refusing), catalog()); err == nil || !strings.Contains(err.Error(), "line 4: brake.apiServerErrors.percent: must be from 1 to 99, not 100") ||
		!strings.Contains(err.Error(), "brake.apiServerErrors.over: must be at most 10m0s") {
		t.Errorf("the faults of the brake are:\n%v", err)
	}
	_, err = Parse([]byte(written), catalog())
	for _, want := range []string{
		"line 5: windows[0].schedule", "windows[1].schedule: \"CRON_TZ=UTC 0 2 * * *\" is not a cron schedule such as \"0 2 * * 1-5\": set the time zone in timeZone",
		"windows[2].schedule: \"@every 1h\"", "windows[3].schedule: \"0 0 31 2 *\" never opens the window", "windows[4].duration: must be longer than 0", "windows[5].duration: is missing",
		"windows[6].timeZone: \"Europe/Berlinn\" is not an IANA time zone", "windows[7].timeZone: \"Local\"", "unknown field \"zone\"", "windows[8].schedule",
		"brake.releaseAfter: must be longer than 0", "brake: must have maxTerminating, apiServerErrors or alerts",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}
