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

// Redactor reads secrets for the plugins, remembers the values, and removes them from every
// text that leaves the agent: log records, errors, progress. A plugin must not write its
// secrets; this is for one that does, and for panics. It is safe for concurrent use.
type Redactor struct {
	cleanup.Secrets

	mutex sync.RWMutex
	known map[cleanup.SecretKey][]string
	// replacer is nil until there is something to replace.
	replacer *strings.Replacer
}

const (
	// placeholder replaces a secret.
	placeholder = "[secret]"
	// minLength is the length in bytes of the shortest value that is replaced. Shorter ones
	// are part of ordinary words.
	minLength = 4
	// generations is how many values of one key are remembered: texts that contain the
	// previous value can be written after it was changed.
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

// build returns a replacer of every value, and of each of its lines and words: errors quote key
// files line by line, and of "Bearer x" only x is secret.
func (r *Redactor) build() *strings.Replacer {
	var parts []string
	for _, values := range r.known {
		for _, value := range values {
			parts = append(parts, value)
			for _, word := range strings.Fields(value) {
				if len(word) >= 2*minLength { // "Bearer" is not a secret.
					parts = append(parts, word)
				}
			}
		}
	}
	parts = slices.DeleteFunc(parts, func(part string) bool { return len(part) < minLength })
	// The replacer uses the first match, so the longest must come first.
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, part := range parts {
		pairs = append(pairs, part, placeholder)
	}
	return strings.NewReplacer(pairs...)
}

// Redact returns the text without the secrets that were read.
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

// attribute returns numbers and times unchanged, and everything else as a text without secrets if
// it contains one.
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
	text := value.String()
	if clean := h.redactor.Redact(text); clean != text {
		return slog.String(attribute.Key, clean)
	}
	return attribute
}
