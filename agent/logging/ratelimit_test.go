package logging

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestCallersCannotFloodTheLog(t *testing.T) {
	var written bytes.Buffer
	now := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	log := RateLimited(slog.New(slog.NewTextHandler(&written, nil)), func() time.Time { return now })
	for range 1000 {
		log.With("from", "10.0.0.1:1").Warn("refusing an admission request")
	}
	if lines := strings.Count(written.String(), "\n"); lines != maxRecords {
		t.Errorf("%d lines were logged", lines)
	}
	written.Reset()
	now = now.Add(period)
	log.Warn("refusing an admission request")
	if said := written.String(); !strings.Contains(said, "omittedLogRecords=980") {
		t.Errorf("the omitted records are counted by %q", said)
	}
	written.Reset()
	log.Warn("refusing an admission request")
	if said := written.String(); !strings.Contains(said, "refusing") || strings.Contains(said, "omittedLog") {
		t.Errorf("the next one says %q", said)
	}
}
