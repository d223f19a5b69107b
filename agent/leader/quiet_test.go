package leader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestErrorsOfALostLeaseAreCountedAndNotLogged(t *testing.T) {
	canceled := fmt.Errorf("writing the record: %w", context.Canceled)
	for name, test := range map[string]struct {
		err    error
		losing bool
		logged bool
	}{
		"refused by the fence":       {fmt.Errorf("writing the record: %w", lost("the Lease is zoe's")), false, false},
		"canceled by the loss":       {canceled, true, false},
		"canceled by something else": {canceled, false, true},
		"another error":              {errors.New("no disk"), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			var text bytes.Buffer
			election := New(Options{})
			election.losing.Store(test.losing)
			slog.New(election.Quiet(slog.NewTextHandler(&text, nil))).With("node", "worker").Warn("cleanup interrupted", "err", test.err)
			if logged := strings.Contains(text.String(), "node=worker"); logged != test.logged || (election.omitted.Load() == 0) != test.logged {
				t.Errorf("logged %q, omitted %d", text.String(), election.omitted.Load())
			}
		})
	}
}
