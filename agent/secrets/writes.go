package secrets

import (
	"slices"
	"sync"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Writes records when each Secret was last written.
type Writes struct {
	now   func() time.Time
	mutex sync.Mutex
	last  map[string]time.Time
}

// NewWrites returns a Writes without any Secret.
func NewWrites(now func() time.Time) *Writes {
	return &Writes{now: now, last: map[string]time.Time{}}
}

// Note records that a Secret was written. A time in the future counts as now: otherwise each
// failure of a step would be retried at once until then.
func (w *Writes) Note(secret string, at time.Time) {
	if now := w.now(); at.After(now) {
		at = now
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.last[secret] = at
}

// Since reports whether one of the Secrets was written after a time.
func (w *Writes) Since(since time.Time, keys []cleanup.SecretKey) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.ContainsFunc(keys, func(key cleanup.SecretKey) bool { return w.last[key.Name].After(since) })
}
