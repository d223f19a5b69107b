package command

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

const flagTimeout = "timeout"

// Timeout is the flag --timeout of a command: the maximum time that it waits.
type Timeout struct {
	Limit time.Duration
}

// AddTimeout adds --timeout with its default.
func (t *Timeout) AddTimeout(flags *pflag.FlagSet, limit time.Duration) {
	flags.DurationVar(&t.Limit, flagTimeout, limit, "Maximum time to wait")
}

// ValidateTimeout refuses a time in which nothing can be done.
func (t *Timeout) ValidateTimeout() error {
	if t.Limit <= 0 {
		return exit.Usagef("--%s must be longer than 0, not %s", flagTimeout, t.Limit)
	}
	return nil
}

// WithTimeout returns a context that ends after the limit.
func (t *Timeout) WithTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, t.Limit)
}
