package exit

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
)

func TestCode(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"fine":              {nil, 0},
		"any error":         {errors.New("x"), 1},
		"usage":             {Usagef("x"), 2},
		"quiet":             {Quiet(Unhealthy), 3},
		"wrapped":           {fmt.Errorf("a: %w", &Error{Code: Declined}), 5},
		"timed out":         {fmt.Errorf("a: %w", context.DeadlineExceeded), 124},
		"chosen in timeout": {&Error{Code: Failure, Err: context.DeadlineExceeded}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Code(t.Context(), test.err); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestSignalSetsTheExitCode(t *testing.T) {
	ctx, stop := OnSignal(t.Context())
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if got := Code(ctx, ctx.Err()); got != 128+15 {
		t.Errorf("got %d, want 143", got)
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		t.Errorf("the cause %v, which net/http returns, is not context.Canceled", cause)
	}
	if got := Explain(ctx, fmt.Errorf("waiting for x: %w", context.Canceled)); got.Error() != "waiting for x: stopped by signal: terminated" || !errors.Is(got, context.Canceled) {
		t.Errorf("the error is %q", got)
	}
	if got := Explain(ctx, Quiet(Unhealthy)); !IsQuiet(got) {
		t.Errorf("the error is %q", got)
	}
	if got := Code(ctx, nil); got != OK {
		t.Errorf("a command that was done already: got %d, want 0", got)
	}
}
