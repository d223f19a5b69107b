package secrets

import (
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

func TestWritesSince(t *testing.T) {
	now := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	writes := NewWrites(func() time.Time { return now })
	writes.Note("past", now.Add(-time.Minute))
	writes.Note("future", now.Add(time.Hour))
	for _, test := range []struct {
		secret string
		since  time.Time
		want   bool
	}{
		{"past", now.Add(-2 * time.Minute), true},
		{"past", now.Add(-time.Minute), false},
		{"future", now.Add(-time.Second), true},
		{"future", now, false},
		{"unknown", time.Time{}, false},
	} {
		if got := writes.Since(test.since, []cleanup.SecretKey{{Name: "other"}, {Name: test.secret}}); got != test.want {
			t.Errorf("%s since %s: %v", test.secret, test.since, got)
		}
	}
}
