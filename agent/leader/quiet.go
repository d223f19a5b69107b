package leader

import (
	"context"
	"errors"
	"log/slog"
)

// Quiet returns a handler that counts log records about an ErrLost instead of writing them, and
// those about requests that were canceled by it. A lost Lease ends hundreds of cleanups and
// requests at once, and Run logs it.
func (l *Election) Quiet(next slog.Handler) slog.Handler { return quiet{next, l} }

type quiet struct {
	slog.Handler
	election *Election
}

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, record slog.Record) error {
	about := false
	record.Attrs(func(attribute slog.Attr) bool {
		err, is := attribute.Value.Resolve().Any().(error)
		about = is && (errors.Is(err, ErrLost) || q.election.losing.Load() && errors.Is(err, context.Canceled))
		return !about
	})
	if about {
		q.election.omitted.Add(1)
		return nil
	}
	return q.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attributes []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attributes), q.election}
}

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler {
	return quiet{q.Handler.WithGroup(name), q.election}
}
