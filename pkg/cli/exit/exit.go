// Package exit holds the exit codes of the CLI and how an error chooses one.
package exit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// The exit codes. A script may rely on them, whatever -o says.
const (
	OK        = 0
	Failure   = 1
	Usage     = 2
	Unhealthy = 3
	Blocked   = 4
	Declined  = 5
	TimedOut  = 124
	// signalBase plus the number of a signal that ended the command.
	signalBase  = 128
	Interrupted = signalBase + int(syscall.SIGINT)
)

// Error is an error with an exit code and a next step.
type Error struct {
	Code int
	// Err is the cause; nil if the output has already reported it.
	Err error
	// Next is the next step for the operator, a sentence or a command.
	Next string
}

// Error returns the text of the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Usagef returns an error about how a command was called.
func Usagef(format string, arguments ...any) error {
	return &Error{Code: Usage, Err: fmt.Errorf(format, arguments...)}
}

// Quiet returns an error that only sets the exit code, because the output has already reported the
// cause.
func Quiet(code int) error { return &Error{Code: code} }

// signalled is the cause of a context that a signal ended.
type signalled struct{ syscall.Signal }

// Error names the signal.
func (s signalled) Error() string { return "stopped by signal: " + s.Signal.String() }

// Is makes it a context.Canceled: net/http returns the cause of a context, not its error.
func (s signalled) Is(target error) bool { return target == context.Canceled }

// OnSignal returns a context that SIGINT or SIGTERM ends. A second signal ends
// the program at once. The function that is returned ends the watch for signals.
func OnSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case one := <-received:
			signal.Stop(received)
			if number, is := one.(syscall.Signal); is {
				cancel(signalled{number})
			}
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(received)
		cancel(nil)
	}
}

// Code returns the exit code for err. A nil error is OK. Otherwise, if a signal canceled ctx, Code returns
// 128 plus the signal number.
func Code(ctx context.Context, err error) int {
	if err == nil {
		return OK
	}
	if stopped, is := context.Cause(ctx).(signalled); is {
		return signalBase + int(stopped.Signal)
	}
	var chosen *Error
	switch {
	case errors.As(err, &chosen):
		return chosen.Code
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	}
	return Failure
}

// Explain returns an error that names the signal if one canceled ctx, instead of "context canceled".
func Explain(ctx context.Context, err error) error {
	stopped, is := context.Cause(ctx).(signalled)
	if !is || err == nil || !errors.Is(err, context.Canceled) || IsQuiet(err) {
		return err
	}
	return &interrupted{err, strings.ReplaceAll(err.Error(), context.Canceled.Error(), stopped.Error())}
}

type interrupted struct {
	error
	text string
}

// Error names the signal.
func (i *interrupted) Error() string { return i.text }

// Unwrap returns the error that says only that the context was canceled.
func (i *interrupted) Unwrap() error { return i.error }

// IsQuiet reports whether the output has already reported the error.
func IsQuiet(err error) bool {
	var chosen *Error
	return errors.As(err, &chosen) && chosen.Err == nil
}
