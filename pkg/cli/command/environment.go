// Package command holds what the commands share: streams and terminal, the way
// to the cluster, questions, output formats, and what to do next after an error.
package command

import (
	"os"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/util/term"
)

// Environment is what a command runs in. Out takes the result and nothing else;
// prose, progress and questions go to ErrOut.
type Environment struct {
	genericiooptions.IOStreams
	// Interactive: a user can answer a question.
	Interactive bool
	// Terminal: Out is a terminal, on which a picture can change.
	Terminal bool
	// Colour: Out is a terminal that may be sent colours.
	Colour bool
	// Columns returns the width of the terminal that ErrOut is; nil if it is none, or one that
	// cannot move its cursor.
	Columns func() int
	// Cluster builds the clients of the API server on first use.
	Cluster *Cluster
	// Now is the clock of this machine, which may be wrong. What is compared with timestamps
	// in the cluster uses ServerTime.
	Now func() time.Time
}

// NewEnvironment looks at the streams, at NO_COLOR and at TERM.
func NewEnvironment(streams genericiooptions.IOStreams) *Environment {
	terminal := term.IsTerminal(streams.Out)
	environment := &Environment{
		IOStreams:   streams,
		Interactive: term.IsTerminal(streams.In) && term.IsTerminal(streams.ErrOut),
		Terminal:    redraws(terminal, os.Getenv),
		Colour:      coloured(terminal, os.Getenv),
		Now:         time.Now,
	}
	if redraws(term.IsTerminal(streams.ErrOut), os.Getenv) {
		environment.Columns = func() int {
			if size := (term.TTY{Out: streams.ErrOut}).GetSize(); size != nil {
				return int(size.Width)
			}
			return 80
		}
	}
	environment.Cluster = NewCluster(func() time.Time { return environment.Now() })
	return environment
}

// ServerTime returns the API server's time, as its newest response tells it.
func (e *Environment) ServerTime() time.Time { return e.Cluster.time.Now() }

// redraws: a dumb terminal cannot move its cursor.
func redraws(terminal bool, variable func(string) string) bool {
	return terminal && variable("TERM") != "dumb"
}

// coloured follows https://no-color.org: any value but none.
func coloured(terminal bool, variable func(string) string) bool {
	return redraws(terminal, variable) && variable("NO_COLOR") == ""
}
