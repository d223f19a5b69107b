package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// The bars that the agent must meet.
const (
	// minRate is the agent's rate in parts of that of the floor that does what the agent must do,
	// one request after the other.
	minRate = 1.1
	// maxWrites per Node, with a plan of one step: a record at the start and at the end, the
	// removal of the finalizer, an Event, and half a write more for what takes longer.
	maxWrites = 4.5
	// maxMemory of an agent that cleans up to maxMemoryNodes Nodes at once, in MiB.
	maxMemory      = 48
	maxMemoryNodes = 5000
	// maxIdleMemory of an agent with nothing to do in a cluster of 15,000 Nodes, in MiB.
	maxIdleMemory = 64
)

// bar is one number that the agent must meet.
type bar struct {
	name string
	got  float64
	// want is the limit; min says that it is the least and not the most.
	want float64
	min  bool
}

func (b bar) met() bool {
	if b.min {
		return b.got >= b.want
	}
	return b.got <= b.want
}

func (b bar) limit() string {
	word := "at most"
	if b.min {
		word = "at least"
	}
	return fmt.Sprintf("%s %.2f", word, b.want)
}

// bars returns what was measured beside what is allowed.
func (b *bench) bars() []bar {
	at := slices.IndexFunc(b.floors, func(f *floor) bool { return f.name == eventFloor })
	bars := []bar{
		{name: "rate, in parts of the " + eventFloor, got: b.rate(b.agents) / b.rate(b.floors[at].rounds), want: minRate, min: true},
		{name: "writes per node", got: b.perNode(b.writes()), want: maxWrites},
		{name: "repeated writes", got: float64(b.repeated)},
	}
	if b.nodes <= maxMemoryNodes {
		bars = append(bars, bar{name: "peak resident memory in MiB", got: mebibytes(b.peak), want: maxMemory})
	}
	return bars
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// barTable returns the bars as text.
func barTable(bars []bar) string {
	var text strings.Builder
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "bar\tagent\tlimit\t")
	for _, one := range bars {
		verdict := "met"
		if !one.met() {
			verdict = "MISSED"
		}
		fmt.Fprintf(out, "%s\t%.2f\t%s\t%s\n", one.name, one.got, one.limit(), verdict)
	}
	out.Flush()
	return text.String()
}

// missed returns an error for each bar that is not met.
func missed(bars []bar) []error {
	var errs []error
	for _, one := range bars {
		if !one.met() {
			errs = append(errs, fmt.Errorf("%s: %.3f, %s is allowed", one.name, one.got, one.limit()))
		}
	}
	return errs
}
