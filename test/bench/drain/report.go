package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/test/bench/internal/measure"
)

// The bars that our drain must meet.
const (
	// maxFloor is its time in parts of the faster floor's, for one Node.
	maxFloor = 1.2
	// maxKubectl is its time in parts of kubectl's, for one Node.
	maxKubectl = 0.5
	// maxKarpenter is its time in parts of Karpenter's.
	maxKarpenter = 1.0
	// maxEvictions are its eviction requests per Pod.
	maxEvictions = 1.3
)

// report holds the samples of one scenario.
type report struct {
	scenario scenario
	// names of the tools, in the order of their samples.
	names   []string
	samples map[string][]sample
}

func (r *report) add(tool string, t sample) {
	if r.samples == nil {
		r.samples = map[string][]sample{}
	}
	if !slices.Contains(r.names, tool) {
		r.names = append(r.names, tool)
	}
	r.samples[tool] = append(r.samples[tool], t)
}

// times of a tool, the shortest first.
func (r *report) times(tool string) []time.Duration {
	var times []time.Duration
	for _, each := range r.samples[tool] {
		times = append(times, each.took)
	}
	slices.Sort(times)
	return times
}

// median of the times of a tool, in seconds.
func (r *report) median(tool string) float64 {
	times := r.times(tool)
	return times[len(times)/2].Seconds()
}

// mean of a value of a tool's samples.
func (r *report) mean(tool string, of func(sample) float64) float64 {
	sum := 0.0
	for _, each := range r.samples[tool] {
		sum += of(each)
	}
	return sum / float64(len(r.samples[tool]))
}

func (r *report) evictionsPerPod(tool string) float64 {
	return r.mean(tool, func(t sample) float64 { return float64(t.evictions) }) / float64(r.scenario.nodes*r.scenario.pods)
}

func (r *report) table() string {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s, %d rounds\n", r.scenario, len(r.samples[r.names[0]]))
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "\ttime (median)\tshortest\tlongest\tevictions per pod\trefused\tnot evicted\treads\tAPI server's CPU\t")
	for _, name := range r.names {
		times := r.times(name)
		fmt.Fprintf(out, "%s\t%.1f s\t%.1f s\t%.1f s\t%.2f\t%.0f\t%.0f\t%.0f\t%.1f s\t\n", name, r.median(name), times[0].Seconds(), times[len(times)-1].Seconds(),
			r.evictionsPerPod(name), r.mean(name, func(t sample) float64 { return float64(t.refused) }),
			r.mean(name, func(t sample) float64 { return float64(t.notEvicted) }), r.mean(name, func(t sample) float64 { return float64(t.reads) }), r.mean(name, func(t sample) float64 { return t.cpu.Seconds() }))
	}
	out.Flush()
	return text.String()
}

// bars returns the measured values with their limits, without the bars of tools that were not
// measured.
func (r *report) bars() []measure.Bar {
	if len(r.samples[ours]) == 0 {
		return nil
	}
	var bars []measure.Bar
	add := func(tool string, want float64) {
		if len(r.samples[tool]) > 0 {
			bars = append(bars, measure.Bar{Name: "time, in parts of " + tool, Got: r.median(ours) / r.median(tool), Want: want})
		}
	}
	if r.scenario.nodes == 1 {
		add(r.fasterFloor(), maxFloor)
		add(kubectl, maxKubectl)
	}
	add(karpenter, maxKarpenter)
	return append(bars, measure.Bar{Name: "eviction requests per pod", Got: r.evictionsPerPod(ours), Want: maxEvictions})
}

// fasterFloor returns the floor with the shortest median, "" if none was measured.
func (r *report) fasterFloor() string {
	best := ""
	for _, n := range callers {
		floor := floorOf(n)
		if len(r.samples[floor]) > 0 && (best == "" || r.median(floor) < r.median(best)) {
			best = floor
		}
	}
	return best
}
