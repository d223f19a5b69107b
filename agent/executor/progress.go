package executor

import (
	"maps"
	"sync"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// latest buffers the newest progress of each step until its run records it. Plugins report progress
// from any goroutine, as often as they like.
type latest struct {
	mutex   sync.Mutex
	reports map[string]report
	// news has an element when there is something to take.
	news chan struct{}
}

// report is the progress of a step. A nil field was not reported.
type report struct {
	text   *string
	counts *api.Counts
	// outputs are all outputs of the step, if one was added.
	outputs map[string]string
}

func newLatest() *latest { return &latest{reports: map[string]report{}, news: make(chan struct{}, 1)} }

// setText replaces the step's text.
func (l *latest) setText(step, text string) {
	l.change(step, func(r *report) { r.text = &text })
}

// setCounts replaces the step's counts.
func (l *latest) setCounts(step string, counts api.Counts) {
	l.change(step, func(r *report) { r.counts = &counts })
}

// setOutputs replaces the step's outputs.
func (l *latest) setOutputs(step string, outputs map[string]string) {
	l.change(step, func(r *report) { r.outputs = outputs })
}

func (l *latest) change(step string, change func(*report)) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	current := l.reports[step]
	change(&current)
	l.reports[step] = current
	select {
	case l.news <- struct{}{}:
	default: // The run has yet to take the earlier one.
	}
}

// take returns the reports since the last call, by step.
func (l *latest) take() map[string]report {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	taken := maps.Clone(l.reports)
	clear(l.reports)
	return taken
}
