package plugintest

import (
	"context"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// soon is the time in which a plugin must return after its context has ended. After it, the
// executor abandons the plugin.
const soon = 5 * time.Second

// failures are the situations in which a call has to fail. Each is nil if it cannot occur.
type failures struct {
	breaks, refuse func(t *testing.T)
	throttle       func(t *testing.T) time.Duration
	// prepare is called before the situation is created. It returns the call.
	prepare func(t *testing.T, situation string) (call func() error)
}

func (f failures) run(t *testing.T) {
	t.Run("says how long to wait", func(t *testing.T) {
		if f.throttle == nil {
			t.Skip("the other system never asks to wait")
		}
		call := f.prepare(t, "throttled")
		want := f.throttle(t)
		err := failed(t, call)
		if after, given := cleanup.RetryDelay(err); after < want {
			t.Errorf("the error says to wait %s (%v), the other system %s: %v", after, given, want, err)
		}
		isRetriable(t, err)
	})
	t.Run("says that no retry helps", func(t *testing.T) {
		if f.refuse == nil {
			t.Skip("the plugin can always be tried again")
		}
		call := f.prepare(t, "refused")
		f.refuse(t)
		if err := failed(t, call); !cleanup.IsPermanent(err) {
			t.Errorf("the plugin does not say that no retry helps: %v", err)
		}
	})
	t.Run("fails without exposing a secret", func(t *testing.T) {
		if f.breaks == nil {
			t.Skip("the plugin cannot fail")
		}
		call := f.prepare(t, "broken")
		f.breaks(t)
		isRetriable(t, failed(t, call))
	})
}

// failed returns the error of a call that has to fail.
func failed(t *testing.T, call func() error) error {
	t.Helper()
	err := call()
	if err == nil {
		t.Error("the plugin did not fail")
	}
	return err
}

func isRetriable(t *testing.T, err error) {
	t.Helper()
	if cleanup.IsPermanent(err) {
		t.Errorf("the plugin says that it is not to be tried again: %v", err)
	}
}

// canceled cancels a call when the plugin waits, and returns its error.
func canceled(t *testing.T, waiting <-chan struct{}, call func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- call(ctx) }()
	select {
	case <-waiting:
	case err := <-ended:
		t.Fatalf("the plugin did not wait: %v", err)
	}
	cancel()
	select {
	case err := <-ended:
		return err
	case <-time.After(soon):
		t.Fatalf("the plugin did not return within %s", soon)
		return nil
	}
}
