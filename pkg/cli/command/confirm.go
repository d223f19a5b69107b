package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Confirm asks a question that the user must answer by yes. If stdin is not a terminal, it fails, so that a
// script without --yes does not hang.
func (e *Environment) Confirm(ctx context.Context, question string) error {
	return e.ask(ctx, question, question+" [y/N] ", func(answer string) bool {
		answer = strings.ToLower(answer)
		return answer == "y" || answer == "yes"
	})
}

// ConfirmByTyping asks a question that the user must answer by typing a word, such as the name of a node.
// Use it for actions that cannot be undone.
func (e *Environment) ConfirmByTyping(ctx context.Context, question, word string) error {
	return e.ask(ctx, question, fmt.Sprintf("%s Type %s to continue: ", question, word), func(answer string) bool { return answer == word })
}

func (e *Environment) ask(ctx context.Context, question, prompt string, agreed func(answer string) bool) error {
	if !e.Interactive {
		return &exit.Error{
			Code: exit.Usage,
			Err:  fmt.Errorf("confirming %q: stdin is not an interactive terminal", question),
			Next: "To skip the confirmation, run the command again with --yes.",
		}
	}
	fmt.Fprint(e.ErrOut, prompt)
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
		if agreed(strings.TrimSpace(answer.line)) {
			return nil
		}
	}
	return &exit.Error{Code: exit.Declined, Err: errors.New("declined; nothing was changed")}
}

// Say writes a line of prose or progress.
func (e *Environment) Say(format string, arguments ...any) {
	fmt.Fprintln(e.ErrOut, printer.CleanLines(fmt.Sprintf(format, arguments...)))
}
