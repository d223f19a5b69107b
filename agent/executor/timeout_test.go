package executor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// The error of a step that timed out names the limit, and not a cancelled context.
func TestTimeoutErrorNamesTheLimit(t *testing.T) {
	hangs := func(ctx context.Context, _ cleanup.Target) error { <-ctx.Done(); return ctx.Err() }
	inTotal := func(s *config.Step) { s.TotalTimeout, s.Retry.MaxRetries = 75*time.Second, 1 }
	for name, test := range map[string]struct {
		work   pluginFunc
		change []func(*config.Step)
		want   string
	}{
		"the error of the context": {hangs, nil, "critical step a failed, attempt 1: step a did not finish within 1m0s"},
		"what it waited for": {func(ctx context.Context, target cleanup.Target) error {
			return fmt.Errorf("waiting for pod cart: %w", hangs(ctx, target))
		}, nil, "critical step a failed, attempt 1: step a did not finish within 1m0s: waiting for pod cart: context deadline exceeded"},
		"the cause": {func(ctx context.Context, _ cleanup.Target) error {
			<-ctx.Done()
			return fmt.Errorf("waiting for pod cart: %w", context.Cause(ctx))
		}, nil, "critical step a failed, attempt 1: waiting for pod cart: step a did not finish within 1m0s"},
		"a request": {func(ctx context.Context, _ cleanup.Target) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://api/", nil)
			if err != nil {
				return err
			}
			client := http.Client{Transport: roundTrips(func(request *http.Request) (*http.Response, error) {
				<-request.Context().Done()
				return nil, request.Context().Err()
			})}
			response, err := client.Do(request)
			if err == nil {
				response.Body.Close()
			}
			return err
		}, nil, `critical step a failed, attempt 1: step a did not finish within 1m0s: Get "http://api/": context deadline exceeded`},
		"a context of its own": {func(ctx context.Context, target cleanup.Target) error {
			own, cancel := context.WithCancel(ctx)
			defer cancel()
			return hangs(own, target)
		}, nil, "critical step a failed, attempt 1: step a did not finish within 1m0s"},
		"another error": {func(ctx context.Context, target cleanup.Target) error {
			_ = hangs(ctx, target)
			return errors.New("no disk")
		}, nil, "critical step a failed, attempt 1: no disk"},
		"one that does not return": {func(ctx context.Context, target cleanup.Target) error {
			_ = hangs(ctx, target)
			<-time.After(time.Hour)
			return nil
		}, nil, "critical step a failed, attempt 1: step a did not finish within 1m0s, and plugin test did not stop when it was cancelled"},
		"the limit in all": {hangs, []func(*config.Step){inTotal}, "critical step a failed, attempt 2: step a did not finish within 5s, the remainder of its totalTimeout of 1m15s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				step := b.step("a", test.work, test.change...)
				outcome, err := b.run(t.Context(), 1, step)
				for err == nil && outcome.State == api.Waiting {
					<-time.After(time.Until(outcome.RetryAt))
					outcome, err = b.run(t.Context(), 1, step)
				}
				b.expect(outcome, err, api.Failed)
				if outcome.Message != test.want {
					t.Errorf("it says %q,\nwant %q", outcome.Message, test.want)
				}
				<-time.After(time.Hour) // The one that did not return has.
			})
		})
	}
}

type roundTrips func(*http.Request) (*http.Response, error)

func (r roundTrips) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }
