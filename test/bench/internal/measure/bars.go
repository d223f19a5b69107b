package measure

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Bar is a measured value and its limit.
type Bar struct {
	Name string
	Got  float64
	// Want is the maximum or, with Min, the minimum.
	Want float64
	Min  bool
}

func (b Bar) met() bool {
	if b.Min {
		return b.Got >= b.Want
	}
	return b.Got <= b.Want
}

func (b Bar) limit() string {
	word := "at most"
	if b.Min {
		word = "at least"
	}
	return fmt.Sprintf("%s %.2f", word, b.Want)
}

// BarTable returns the bars as text. subject is the program that must meet them.
func BarTable(subject string, bars []Bar) string {
	var text strings.Builder
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "bar\t%s\tlimit\t\n", subject)
	for _, one := range bars {
		verdict := "met"
		if !one.met() {
			verdict = "MISSED"
		}
		fmt.Fprintf(out, "%s\t%.2f\t%s\t%s\n", one.Name, one.Got, one.limit(), verdict)
	}
	out.Flush()
	return text.String()
}

// Missed returns an error for each bar that is not met.
func Missed(bars []Bar) []error {
	var errs []error
	for _, one := range bars {
		if !one.met() {
			errs = append(errs, fmt.Errorf("%s: got %.3f, want %s", one.Name, one.Got, one.limit()))
		}
	}
	return errs
}
