// Package logging makes log records safe to write: without secrets, and no more of them than a
// period allows.
package logging

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Redactor hands out secret values, remembers them, and takes them out of every
// text that leaves the agent: log lines, errors, progress. A plugin keeps its
// secrets to itself; this is for the one that does not, and for its panics.
type Redactor struct {
	cleanup.Secrets

	mutex sync.RWMutex
	known map[cleanup.SecretKey][]string
	// replacer is nil until there is something to replace.
	replacer *strings.Replacer
}

const (
	// redacted stands for a secret.
	redacted = "[secret]"
	// shortest is the length in bytes from which on a value is taken out of
	// texts: a shorter one would be found in words that say nothing about it.
	shortest = 4
	// generations are how many values of one key are remembered: texts about
	// the one before it was changed may be on their way.
	generations = 3
)

// Secret implements cleanup.Secrets.
func (r *Redactor) Secret(ctx context.Context, key cleanup.SecretKey) (string, error) {
	value, err := r.Secrets.Secret(ctx, key)
	if err == nil {
		r.remember(key, value)
	}
	return value, err
}

func (r *Redactor) remember(key cleanup.SecretKey, value string) {
	r.mutex.RLock()
	known := slices.Contains(r.known[key], value)
	r.mutex.RUnlock()
	if known {
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.known == nil {
		r.known = map[cleanup.SecretKey][]string{}
	}
	values := append(r.known[key], value)
	r.known[key] = values[max(0, len(values)-generations):]
	r.replacer = r.build()
}

// build returns what replaces every value, and each line and word of one: a key
// file is quoted line by line, and of "Bearer x" it is x that counts.
func (r *Redactor) build() *strings.Replacer {
	var parts []string
	for _, values := range r.known {
		for _, value := range values {
			parts = append(parts, value)
			for _, word := range strings.Fields(value) {
				if len(word) >= 2*shortest { // "Bearer" is no secret.
					parts = append(parts, word)
				}
			}
		}
	}
	parts = slices.DeleteFunc(parts, func(part string) bool { return len(part) < shortest })
	// The replacer takes the first that fits, so the longest must come first.
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, part := range parts {
		pairs = append(pairs, part, redacted)
	}
	return strings.NewReplacer(pairs...)
}

// Redact returns the text without any secret that was handed out.
func (r *Redactor) Redact(text string) string {
	r.mutex.RLock()
	replacer := r.replacer
	r.mutex.RUnlock()
	if replacer == nil {
		return text
	}
	return replacer.Replace(text)
}

// Handler returns a handler that passes records on to next without secrets.
func (r *Redactor) Handler(next slog.Handler) slog.Handler { return redacting{next, r} }

type redacting struct {
	slog.Handler
	redactor *Redactor
}

// Handle implements slog.Handler.
func (h redacting) Handle(ctx context.Context, record slog.Record) error {
	clean := slog.NewRecord(record.Time, record.Level, h.redactor.Redact(record.Message), record.PC)
	record.Attrs(func(attribute slog.Attr) bool {
		clean.AddAttrs(h.attribute(attribute))
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (h redacting) WithAttrs(attributes []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, 0, len(attributes))
	for _, attribute := range attributes {
		clean = append(clean, h.attribute(attribute))
	}
	return redacting{h.Handler.WithAttrs(clean), h.redactor}
}

// WithGroup implements slog.Handler.
func (h redacting) WithGroup(name string) slog.Handler {
	return redacting{h.Handler.WithGroup(name), h.redactor}
}

// attribute leaves numbers and times alone, and turns everything else into a
// text without secrets.
func (h redacting) attribute(attribute slog.Attr) slog.Attr {
	value := attribute.Value.Resolve()
	switch value.Kind() {
	case slog.KindBool, slog.KindDuration, slog.KindFloat64, slog.KindInt64, slog.KindTime, slog.KindUint64:
		return attribute
	case slog.KindGroup:
		var clean []any
		for _, each := range value.Group() {
			clean = append(clean, h.attribute(each))
		}
		return slog.Group(attribute.Key, clean...)
	}
	said := value.String()
	if clean := h.redactor.Redact(said); clean != said {
		return slog.String(attribute.Key, clean)
	}
	return attribute
}
