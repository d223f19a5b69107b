package command

import (
	"fmt"
	"maps"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Bars reports whether progress bars can be shown: ErrOut is a terminal.
func (r *Results) Bars() bool { return r.environment.Columns != nil }

// Bar shows the progress bar of a Node below everything that was written; an empty one removes
// it. It is for a terminal only.
func (r *Results) Bar(node, text string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.bars[node] == text {
		return
	}
	r.erase()
	r.bars[node] = text
	if text == "" {
		delete(r.bars, node)
	}
	r.draw()
}

// erase removes the bars from the terminal, for something else to be written.
func (r *Results) erase() {
	if r.drawn > 0 {
		fmt.Fprintf(r.environment.ErrOut, "\x1b[%dA\x1b[J", r.drawn) // Cursor up, clear to the end.
	}
	r.drawn = 0
}

// draw writes the bars, each in one line: the terminal would break a longer one, and erase
// would leave a part of it.
func (r *Results) draw() {
	if len(r.bars) == 0 {
		return
	}
	listed, more := Bounded(slices.Sorted(maps.Keys(r.bars)))
	var lines []string
	for _, node := range listed {
		lines = append(lines, r.about(node, r.bars[node]))
	}
	if more > 0 {
		lines = append(lines, "and "+api.Count(more, "more node"))
	}
	for _, line := range lines {
		shown := []rune(printer.Clean(line))
		fmt.Fprintln(r.environment.ErrOut, string(shown[:min(len(shown), max(r.environment.Columns()-1, 1))]))
	}
	r.drawn = len(lines)
}
