package printer

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Outcome of one check.
type Outcome string

// The outcomes.
const (
	Pass    Outcome = "pass"
	Warning Outcome = "warning"
	Error   Outcome = "error"
	// Skip means that the check could not run. The detail names the cause.
	Skip Outcome = "skipped"
	// Suppressed means that the check did not pass, and that the operator accepts this.
	Suppressed Outcome = "suppressed"
	// Underway: it is being done.
	Underway Outcome = "underway"
)

// Checks is the view of all check results.
type Checks struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Time       metav1.Time `json:"time"`
	Passed     bool        `json:"passed"`
	Checks     []Check     `json:"checks"`
}

// Check is one of them.
type Check struct {
	// ID stays the same between versions.
	ID          string `json:"id"`
	Description string `json:"description"`
	// Outcome is empty in a list of the available checks.
	Outcome Outcome `json:"outcome,omitempty"`
	Detail  string  `json:"detail,omitempty"`
	// Hint is the command or change that fixes it. A manifest to apply follows in further lines.
	Hint string `json:"hint,omitempty"`
}

// NewChecks returns an empty view.
func NewChecks(now time.Time) *Checks {
	return &Checks{APIVersion: APIVersion, Kind: "CheckReport", Time: metav1.NewTime(now), Checks: []Check{}}
}

var marks = map[Outcome]Cell{
	Pass: {Text: "✓", Tone: Good}, Warning: {Text: "!", Tone: Warn}, Error: {Text: "✗", Tone: Bad},
	Skip: {Text: "-", Tone: Warn}, Suppressed: {Text: "~"}, Underway: {Text: "→"}, "": {Text: " "},
}

// Text writes a line for each check, and a hint below those that did not pass.
func (c *Checks) Text(text *Text) {
	for _, check := range c.Checks {
		line := check.ID + ": " + check.Description
		if check.Detail != "" {
			line += " · " + check.Detail
		}
		text.Line("%s %s", text.paint(marks[check.Outcome]), line)
		if check.Hint != "" && (check.Outcome == Warning || check.Outcome == Error) {
			first, manifest, _ := strings.Cut(check.Hint, "\n")
			text.Line("    fix: %s", first)
			for line := range strings.Lines(manifest) { // Not indented, so that it can be pasted.
				text.Line("%s", strings.TrimSuffix(line, "\n"))
			}
		}
	}
	if len(c.Checks) > 0 && c.Checks[0].Outcome != "" {
		text.Line("%s", c.sum())
	}
}

// Short writes the checks that did not pass, and the sum.
func (c *Checks) Short(text *Text) {
	for _, check := range c.Checks {
		if check.Outcome == Warning || check.Outcome == Error {
			text.Line("%s %s: %s", check.Outcome, check.ID, check.Detail)
		}
	}
	text.Line("%s", c.sum())
}

func (c *Checks) sum() string {
	var parts []string
	for _, one := range []struct {
		outcome Outcome
		said    string
	}{{Pass, "passed"}, {Error, "failed"}, {Warning, "warning"}, {Skip, "skipped"}, {Suppressed, "suppressed"}} {
		number := 0
		for _, check := range c.Checks {
			if check.Outcome == one.outcome {
				number++
			}
		}
		switch {
		case number > 0 && one.outcome == Warning:
			parts = append(parts, api.Count(number, one.said))
		case number > 0:
			parts = append(parts, fmt.Sprintf("%d %s", number, one.said))
		}
	}
	return api.Count(len(c.Checks), "check") + ": " + joined(parts)
}

// Names returns the IDs.
func (c *Checks) Names() []string {
	var names []string
	for _, check := range c.Checks {
		names = append(names, "check/"+check.ID)
	}
	return names
}

// Rows names the field of the checks.
func (c *Checks) Rows() string { return "checks" }
