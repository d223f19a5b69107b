package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Results are what a command achieves on one Node or on several, which may be at the same time.
// An error of one Node stops no other.
type Results struct {
	environment *Environment
	several     bool

	lock sync.Mutex
	err  error
	code int
	// bars are the progress bars by Node, drawn the number of those on the terminal.
	bars  map[string]string
	drawn int
}

// NewResults returns empty Results. Err returns the error of a single Node unchanged. Errors of several
// Nodes are printed when they occur.
func (e *Environment) NewResults(several bool) *Results {
	return &Results{environment: e, several: several, bars: map[string]string{}}
}

// Done writes the result of a Node to Out.
func (r *Results) Done(format string, arguments ...any) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.erase()
	fmt.Fprintf(r.environment.Out, format+"\n", arguments...)
	r.draw()
}

// Progress writes a line about a Node to ErrOut.
func (r *Results) Progress(node, line string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.erase()
	r.environment.Say("%s", r.about(node, line))
	r.draw()
}

// Say writes a line that is about no single Node to ErrOut.
func (r *Results) Say(format string, arguments ...any) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.erase()
	r.environment.Say(format, arguments...)
	r.draw()
}

func (r *Results) about(node, line string) string {
	if r.several {
		return node + ": " + line
	}
	return "  " + line
}

// Failed takes the error of a Node, or nil.
func (r *Results) Failed(err error) {
	if err == nil {
		return
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	if !r.several || errors.Is(err, context.Canceled) {
		r.err = err // After Ctrl-C every Node has the same one.
		return
	}
	r.code = max(r.code, exit.Code(context.Background(), err))
	r.erase()
	Report(r.environment.ErrOut, err)
	r.draw()
}

// Err returns the error of the command, which chooses the highest exit code of all Nodes.
func (r *Results) Err() error {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.err == nil && r.code != exit.OK {
		return exit.Quiet(r.code)
	}
	return r.err
}

// ForEach calls act for each item in order, with at most atOnce concurrent calls. Each item belongs to one
// Node. It returns the items for which act succeeded.
func ForEach[T any](results *Results, items []T, atOnce int, act func(T) error) []T {
	errs := make([]error, len(items))
	slots := make(chan struct{}, max(atOnce, 1))
	var group sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		group.Go(func() {
			errs[i] = act(item)
			results.Failed(errs[i])
			<-slots
		})
	}
	group.Wait()
	var succeeded []T
	for i, item := range items {
		if errs[i] == nil {
			succeeded = append(succeeded, item)
		}
	}
	return succeeded
}

// Report writes an error and what to do about it, unless the output has said it already.
func Report(out io.Writer, err error) {
	if err == nil || exit.IsQuiet(err) {
		return
	}
	fmt.Fprintln(out, "Error: "+printer.CleanLines(err.Error()))
	if next := Next(err); next != "" {
		fmt.Fprintln(out, "Next:  "+next)
	}
}
