package plugintest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// chat is a Notifier that fulfils the contract, except for the part that a test breaks.
type chat struct {
	notify   func(ctx context.Context, notification cleanup.Notification) (string, error)
	messages int
	err      error
	waiting  chan struct{}
}

func (c *chat) Notify(ctx context.Context, notification cleanup.Notification) (string, error) {
	return c.notify(ctx, notification)
}

func (c *chat) replace(ctx context.Context, notification cleanup.Notification) (string, error) {
	if c.waiting != nil {
		close(c.waiting)
		<-ctx.Done()
		return "", ctx.Err()
	}
	if c.err != nil {
		return "", c.err
	}
	if notification.Reference == "" {
		c.messages++
	}
	return "message-1", nil
}

// notifierBreakers are named after the promise that they break; "" is none.
func notifierBreakers() map[string]func(*NotifierSuite, *chat) {
	fail := func(c *chat, err error) func(*testing.T) {
		return func(t *testing.T) {
			c.err = err
			t.Cleanup(func() { c.err = nil })
		}
	}
	return map[string]func(*NotifierSuite, *chat){
		"":                    func(*NotifierSuite, *chat) {},
		"has no BindNotifier": func(s *NotifierSuite, _ *chat) { s.Descriptor.BindNotifier = nil },
		"an unknown option was accepted": func(s *NotifierSuite, c *chat) {
			s.Descriptor.BindNotifier = func([]byte) (cleanup.Notifier, []error) { return c, nil }
		},
		"3 messages were sent, want 1": func(_ *NotifierSuite, c *chat) {
			c.notify = func(ctx context.Context, notification cleanup.Notification) (string, error) {
				notification.Reference = ""
				return c.replace(ctx, notification)
			}
		},
		`the reference of message 2 is "", and was "message-1"`: func(_ *NotifierSuite, c *chat) {
			c.notify = func(ctx context.Context, notification cleanup.Notification) (string, error) {
				reference, err := c.replace(ctx, notification)
				if notification.Reference != "" {
					reference = ""
				}
				return reference, err
			}
		},
		"the reference has 1025 bytes": func(_ *NotifierSuite, c *chat) {
			c.notify = func(ctx context.Context, notification cleanup.Notification) (string, error) {
				_, err := c.replace(ctx, notification)
				return strings.Repeat("x", 1025), err
			}
		},
		"gave a secret away": func(_ *NotifierSuite, c *chat) {
			c.notify = func(ctx context.Context, notification cleanup.Notification) (string, error) {
				notification.Log.Debug("sending", "token", canary)
				return c.replace(ctx, notification)
			}
		},
		"the plugin did not wait": func(s *NotifierSuite, _ *chat) { s.Hang = func(*testing.T) <-chan struct{} { return nil } },
		"after it was cancelled": func(_ *NotifierSuite, c *chat) {
			c.notify = func(ctx context.Context, n cleanup.Notification) (string, error) {
				return permanently(c.replace(ctx, n))
			}
		},
		"the other system 7s": func(s *NotifierSuite, c *chat) {
			throttled := fail(c, errors.New("busy"))
			s.Throttle = func(t *testing.T) time.Duration { throttled(t); return 7 * time.Second }
		},
		"does not say that no retry helps": func(s *NotifierSuite, c *chat) { s.Refuse = fail(c, errors.New("refused")) },
		"not to be tried again: down":      func(s *NotifierSuite, c *chat) { s.Break = fail(c, cleanup.Permanent(errors.New("down"))) },
		"the plugin did not fail":          func(s *NotifierSuite, _ *chat) { s.Break = func(*testing.T) {} },
	}
}

func permanently(reference string, err error) (string, error) {
	return reference, cleanup.Permanent(err)
}

func runNotifier(t *testing.T, breaker func(*NotifierSuite, *chat)) {
	c := &chat{}
	c.notify = c.replace
	fail := func(t *testing.T, err error) {
		c.err = err
		t.Cleanup(func() { c.err = nil })
	}
	s := NotifierSuite{
		Descriptor: cleanup.Descriptor{
			Name: "chat", BindNotifier: cleanup.NotifierOptions(struct{}{}, func(struct{}) (cleanup.Notifier, error) { return c, nil }),
		},
		Messages: func(*testing.T) int { return c.messages },
		Hang: func(t *testing.T) <-chan struct{} {
			c.waiting = make(chan struct{})
			t.Cleanup(func() { c.waiting = nil })
			return c.waiting
		},
		Break:  func(t *testing.T) { fail(t, errors.New("down")) },
		Refuse: func(t *testing.T) { fail(t, cleanup.Permanent(errors.New("refused"))) },
		Throttle: func(t *testing.T) time.Duration {
			fail(t, cleanup.RetryAfter(errors.New("busy"), 7*time.Second))
			return 7 * time.Second
		},
		Canary: canary,
	}
	breaker(&s, c)
	RunNotifier(t, s)
}

func TestEachViolationOfANotifierIsFound(t *testing.T) {
	const variable = "PLUGINTEST_NOTIFIER_BREAKS"
	if promise, child := os.LookupEnv(variable); child {
		runNotifier(t, notifierBreakers()[promise])
		return
	}
	for promise := range notifierBreakers() {
		t.Run(promise, func(t *testing.T) {
			// As in TestEachContractViolationIsFound, in another process.
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEachViolationOfANotifierIsFound$")
			child.Env = append(os.Environ(), variable+"="+promise)
			output, err := child.CombinedOutput()
			if broken := promise != ""; (err != nil) != broken || !strings.Contains(string(output), promise) {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}
