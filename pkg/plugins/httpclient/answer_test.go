package httpclient

import (
	"testing"
	"time"
)

func TestRetryAfterDateIsParsed(t *testing.T) {
	now := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	if after, said := RetryAfter("Sat, 31 Jan 2026 04:01:30 GMT", now); !said || after != 90*time.Second {
		t.Errorf("retry after %s, %v", after, said)
	}
}
