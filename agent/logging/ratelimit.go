package logging

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A rate-limited logger writes maxRecords in each period, and counts the others.
const (
	maxRecords = 20
	period     = 10 * time.Second
)

// RateLimited returns a logger for records that clients can cause, so that clients cannot flood the
// log.
func RateLimited(log *slog.Logger, now func() time.Time) *slog.Logger {
	return slog.New(rateLimited{log.Handler(), &budget{now: now}})
}

type rateLimited struct {
	slog.Handler
	budget *budget
}

// Handle implements slog.Handler. A record that follows discarded ones has their number.
func (h rateLimited) Handle(ctx context.Context, record slog.Record) error {
	allowed, discarded := h.budget.take()
	if !allowed {
		return nil
	}
	if discarded > 0 {
		record = record.Clone()
		record.Add("omittedLogRecords", discarded)
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h rateLimited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return rateLimited{h.Handler.WithAttrs(attrs), h.budget}
}

// WithGroup implements slog.Handler.
func (h rateLimited) WithGroup(name string) slog.Handler {
	return rateLimited{h.Handler.WithGroup(name), h.budget}
}

// budget is the number of records that a period still allows.
type budget struct {
	now func() time.Time

	mutex           sync.Mutex
	since           time.Time
	used, discarded int
}

// take reports whether one more record may be written, and how many were discarded before it.
func (b *budget) take() (allowed bool, discarded int) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if now := b.now(); now.Sub(b.since) >= period {
		b.since, b.used = now, 0
	}
	if b.used == maxRecords {
		b.discarded++
		return false, 0
	}
	b.used++
	discarded, b.discarded = b.discarded, 0
	return true, discarded
}
