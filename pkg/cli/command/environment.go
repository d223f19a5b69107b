// Package command holds what the commands share: streams and terminal, the way
// to the cluster, questions, output formats, and what to do next after an error.
package command

import (
	"os"
	"time"

	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Environment is what a command runs in. Out takes the result and nothing else;
// prose, progress and questions go to ErrOut.
type Environment struct {
	genericiooptions.IOStreams
	// Interactive: somebody can answer a question.
	Interactive bool
	// Terminal: Out is a terminal, on which a picture can change.
	Terminal bool
	// Colour: Out is a terminal that may be sent colours.
	Colour bool
	// Cluster is the way to the API server. Nothing is sent before a command asks.
	Cluster *Cluster
	Now     func() time.Time
}

// NewEnvironment looks at the streams and at NO_COLOR.
func NewEnvironment(streams genericiooptions.IOStreams) *Environment {
	return &Environment{
		IOStreams:   streams,
		Interactive: isTerminal(streams.In) && isTerminal(streams.ErrOut),
		Terminal:    isTerminal(streams.Out) && os.Getenv("TERM") != "dumb",
		Colour:      isTerminal(streams.Out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		Cluster:     NewCluster(),
		Now:         time.Now,
	}
}

func isTerminal(stream any) bool {
	file, is := stream.(*os.File)
	return is && term.IsTerminal(int(file.Fd()))
}
