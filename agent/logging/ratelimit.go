package logging

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// What callers can have the agent log: more than that is only counted.
const (
	maxRecords = 20
	period     = 10 * time.Second
)

// RateLimited returns a logger that callers cannot flood.
func RateLimited(log *slog.Logger, now func() time.Time) *slog.Logger {
	return slog.New(rateLimited{log.Handler(), &budget{now: now}})
}

type rateLimited struct {
	slog.Handler
	budget *budget
}

// Handle says how much was left out with the first record that is not.
func (h rateLimited) Handle(ctx context.Context, record slog.Record) error {
	allowed, leftOut := h.budget.take()
	if !allowed {
		return nil
	}
	if leftOut > 0 {
		record = record.Clone()
		record.Add("leftOutBefore", leftOut)
	}
	return h.Handler.Handle(ctx, record)
}

func (h rateLimited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return rateLimited{h.Handler.WithAttrs(attrs), h.budget}
}

func (h rateLimited) WithGroup(name string) slog.Handler {
	return rateLimited{h.Handler.WithGroup(name), h.budget}
}

// budget is what may be logged in a period.
type budget struct {
	now func() time.Time

	mutex         sync.Mutex
	since         time.Time
	used, leftOut int
}

func (b *budget) take() (allowed bool, leftOut int) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if now := b.now(); now.Sub(b.since) >= period {
		b.since, b.used = now, 0
	}
	if b.used == maxRecords {
		b.leftOut++
		return false, 0
	}
	b.used++
	leftOut, b.leftOut = b.leftOut, 0
	return true, leftOut
}
