package printer

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/duration"
)

// Text is the output of a view for people.
type Text struct {
	out    *bytes.Buffer
	colour bool
}

// painted is text with our own colours in it.
type painted string

// Line writes a line. It cleans the texts among the arguments: they come from conditions, Events
// and errors, which other clients can write.
func (t *Text) Line(format string, arguments ...any) {
	cleaned := make([]any, len(arguments))
	for i, argument := range arguments {
		if text, is := argument.(string); is {
			argument = Clean(text)
		}
		cleaned[i] = argument
	}
	fmt.Fprintf(t.out, format+"\n", cleaned...)
}

// Tone is how a word is meant; on a terminal it is a colour.
type Tone int

// The tones.
const (
	Plain Tone = iota
	Good
	Warn
	Bad
)

// Cell is one field of a table.
type Cell struct {
	Text string
	Tone Tone
}

// Cells makes plain cells.
func Cells(texts ...string) []Cell {
	cells := make([]Cell, len(texts))
	for i, text := range texts {
		cells[i] = Cell{Text: text}
	}
	return cells
}

// columnGap is the gap that kubectl leaves between columns.
const columnGap = 3

// Table writes rows in aligned columns. Widths are counted without colours.
func (t *Text) Table(rows [][]Cell) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(Clean(cell.Text)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(string(t.paint(cell)))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(Clean(cell.Text))+columnGap))
			}
		}
		t.Line("%s", painted(strings.TrimRight(line.String(), " ")))
	}
}

func (t *Text) paint(cell Cell) painted {
	cell.Text = Clean(cell.Text)
	codes := map[Tone]string{Good: "32", Warn: "33", Bad: "31"}
	code, coloured := codes[cell.Tone]
	if !t.colour || !coloured || cell.Text == "" {
		return painted(cell.Text)
	}
	return painted("\x1b[" + code + "m" + cell.Text + "\x1b[0m")
}

// Age writes a length of time as kubectl does: 41s, 14m, 3h5m.
func Age(length time.Duration) string { return duration.HumanDuration(length) }

// OrDash returns "-" for nothing.
func OrDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
