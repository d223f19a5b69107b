package command

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/pflag"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestTimeout(t *testing.T) {
	for given, want := range map[string]int{"": exit.OK, "1ns": exit.OK, "0s": exit.Usage, "-1s": exit.Usage} {
		var timeout Timeout
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		timeout.AddTimeout(flags, time.Minute)
		if given != "" {
			if err := flags.Parse([]string{"--timeout", given}); err != nil {
				t.Fatal(err)
			}
		}
		if err := timeout.ValidateTimeout(); exit.Code(t.Context(), err) != want {
			t.Errorf("--timeout %q: %v", given, err)
		}
	}
}

func TestWithTimeoutEndsAtTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		timeout, started := Timeout{Limit: time.Hour}, time.Now()
		ctx, cancel := timeout.WithTimeout(t.Context())
		defer cancel()
		<-ctx.Done()
		if took := time.Since(started); took != time.Hour || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("it ended after %s: %v", took, ctx.Err())
		}
	})
}
