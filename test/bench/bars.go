package main

import (
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/test/bench/internal/measure"
)

// The bars that the agent must meet.
const (
	// minRate is the agent's rate relative to the floor that does the agent's necessary requests
	// one after the other.
	minRate = 1.1
	// maxWrites per Node, with a plan of one step: a record at the start and at the end, the
	// removal of the finalizer, an Event, and on average half a write for progress.
	maxWrites = 4.5
	// maxMemory of an agent that cleans up to maxMemoryNodes Nodes at once, in MiB.
	maxMemory      = 48
	maxMemoryNodes = 5000
	// minNotified is the agent's rate with broken receivers of notifications, relative to its rate without
	// notifications. Rounds of the same agent differ by that much.
	minNotified = 0.9
	// maxIdleMemory of an agent with nothing to do in a cluster of 15,000 Nodes, in MiB.
	maxIdleMemory = 64
)

// bars returns the measured values with their limits.
func (b *bench) bars() []measure.Bar {
	at := slices.IndexFunc(b.floors, func(f *floor) bool { return f.name == eventFloor })
	bars := []measure.Bar{
		{Name: "rate, in parts of the " + eventFloor, Got: b.rate(b.agents) / b.rate(b.floors[at].rounds), Want: minRate, Min: true},
		{Name: "writes per node", Got: b.perNode(b.writes()), Want: maxWrites},
		{Name: "repeated writes", Got: float64(b.repeated)},
	}
	if b.nodes <= maxMemoryNodes {
		bars = append(bars, measure.Bar{Name: "peak resident memory in MiB", Got: mebibytes(b.peak), Want: maxMemory})
	}
	return bars
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }
