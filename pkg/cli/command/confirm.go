package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// Confirm asks a question that must be answered by yes. Where nobody can answer
// it fails, so that a script without --yes does not hang.
func (e *Environment) Confirm(ctx context.Context, question string) error {
	if !e.Interactive {
		return &exit.Error{
			Code: exit.Usage,
			Err:  fmt.Errorf("asking %q: there is no terminal to answer on", question),
			Next: "If you mean it, run the same command with --yes.",
		}
	}
	fmt.Fprintf(e.ErrOut, "%s [y/N] ", question)
	type read struct {
		line string
		err  error
	}
	answered := make(chan read, 1)
	go func() {
		line, err := bufio.NewReader(e.In).ReadString('\n')
		answered <- read{line, err}
	}()
	select {
	case <-ctx.Done():
		return fmt.Errorf("asking %q: %w", question, context.Cause(ctx))
	case answer := <-answered:
		if answer.err != nil && !errors.Is(answer.err, io.EOF) {
			return fmt.Errorf("reading the answer: %w", answer.err)
		}
		switch strings.ToLower(strings.TrimSpace(answer.line)) {
		case "y", "yes":
			return nil
		}
	}
	return &exit.Error{Code: exit.Declined, Err: errors.New("declined; nothing was changed")}
}

// Say writes a line of prose or progress.
func (e *Environment) Say(format string, arguments ...any) {
	fmt.Fprintf(e.ErrOut, format+"\n", arguments...)
}
