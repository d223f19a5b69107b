package printer

import (
	"bytes"
	"testing"
	"time"
)

// Control characters in conditions and Events must not reach the terminal of the reader.
func TestControlCharactersAreShownAndNotSent(t *testing.T) {
	const nasty = "gone\x1b[2J\x1b[31m\u202eenif\x9b1m\ntwo\a"
	const shown = "gone<U+001B>[2J<U+001B>[31m<U+202E>enif<U+009B>1m two<U+0007>"
	if got := Clean("gone\x1b[2J\x1b[31m\u202eenif\u009b1m\ntwo\a"); got != shown {
		t.Errorf("cleaned to %q", got)
	}
	if got := CleanLines("a\n\tb\x1b"); got != "a\n\tb<U+001B>" {
		t.Errorf("cleaned to %q", got)
	}
	if got := Clean("ü · ✓ →"); got != "ü · ✓ →" {
		t.Errorf("cleaned to %q", got)
	}
	status := NewStatus(time.Unix(0, 0))
	status.Cleanups = []CleanupRow{{Node: "n", State: "Failed", Stuck: true, Reason: nasty}}
	diagnosis := NewDiagnosis("n", time.Unix(0, 0))
	diagnosis.Causes, diagnosis.Events = []Cause{{ID: "blocked", Text: nasty, Options: []string{nasty}}}, []string{nasty}
	checks := NewChecks(time.Unix(0, 0))
	checks.Checks = []Check{{ID: "config", Outcome: Error, Detail: nasty, Hint: nasty}}
	for _, view := range []View{status, diagnosis, checks} {
		for _, format := range []Format{Table, Wide, Short, Name} {
			var out bytes.Buffer
			if err := Print(&out, format, false, view); err != nil {
				t.Fatal(err)
			}
			if bytes.ContainsAny(out.Bytes(), "\x1b\a\u202e") {
				t.Errorf("%T as %s: %q", view, format, out.String())
			}
		}
	}
}
