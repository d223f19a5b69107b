package executor

import (
	"maps"
	"sync"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// progressBuffer holds the newest progress of each step until the run records it. Plugins report
// progress from any goroutine and at any rate.
type progressBuffer struct {
	mutex   sync.Mutex
	reports map[string]report
	// changed signals that take has something to return.
	changed chan struct{}
}

// report is the progress of a step. A nil field was not reported.
type report struct {
	text   *string
	counts *api.Counts
	// outputs are all outputs of the step, if one was added.
	outputs map[string]string
}

func newProgressBuffer() *progressBuffer {
	return &progressBuffer{reports: map[string]report{}, changed: make(chan struct{}, 1)}
}

// setText replaces the step's text.
func (b *progressBuffer) setText(step, text string) {
	b.change(step, func(r *report) { r.text = &text })
}

// setCounts replaces the step's counts.
func (b *progressBuffer) setCounts(step string, counts api.Counts) {
	b.change(step, func(r *report) { r.counts = &counts })
}

// setOutputs replaces the step's outputs.
func (b *progressBuffer) setOutputs(step string, outputs map[string]string) {
	b.change(step, func(r *report) { r.outputs = outputs })
}

func (b *progressBuffer) change(step string, change func(*report)) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	current := b.reports[step]
	change(&current)
	b.reports[step] = current
	select {
	case b.changed <- struct{}{}:
	default: // The run has yet to take the earlier one.
	}
}

// take returns the reports since the last call, by step.
func (b *progressBuffer) take() map[string]report {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	taken := maps.Clone(b.reports)
	clear(b.reports)
	return taken
}
