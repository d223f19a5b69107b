package plugintest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

const canary = "canary-7f3a"

// example is a plugin that fulfils the contract except for the parts that a test breaks.
type example struct {
	cleanup, preview func(ctx context.Context, target cleanup.Target) error
	effect           cleanup.Effect
}

func (e example) Cleanup(ctx context.Context, target cleanup.Target) error {
	return e.cleanup(ctx, target)
}

func (e example) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	return []cleanup.Effect{e.effect}, e.preview(ctx, target)
}

// breakers are named after the promise that they break; "" is none.
func breakers() map[string]func(*Suite, *example, *state) {
	return map[string]func(*Suite, *example, *state){
		"": func(*Suite, *example, *state) {},
		"is no name of a plugin": func(s *Suite, _ *example, _ *state) {
			s.Descriptor.Name = "No Name"
		},
		"no default timeout": func(s *Suite, _ *example, _ *state) {
			s.Descriptor.Defaults.Timeout = 0
		},
		"an unknown option was accepted": func(s *Suite, e *example, _ *state) {
			s.Descriptor.Bind = func([]byte) (cleanup.Plugin, []error) { return e, nil }
		},
		"the preview had 1 effects": func(_ *Suite, e *example, st *state) {
			e.preview = func(context.Context, cleanup.Target) error { st.effects++; return nil }
		},
		"the action of an effect is \"do it\"": func(_ *Suite, e *example, _ *state) { e.effect.Action = "do it" },
		"neither an object nor a reason":       func(_ *Suite, e *example, _ *state) { e.effect = cleanup.Effect{Action: cleanup.Call} },
		"lacks a kind or a name":               func(_ *Suite, e *example, _ *state) { e.effect.Object.Kind = "" },
		"lacks a cause or a message": func(_ *Suite, e *example, _ *state) {
			e.effect.Blocked = &cleanup.Blocker{Message: "not now"}
		},
		"does not return what it says, it logs": func(_ *Suite, e *example, _ *state) {
			e.preview = func(_ context.Context, target cleanup.Target) error { target.Log.Info("x"); return nil }
		},
		"attempt 2: not again": func(_ *Suite, e *example, _ *state) {
			works := e.cleanup
			e.cleanup = func(ctx context.Context, target cleanup.Target) error {
				if target.Attempt > 1 {
					return errors.New("not again")
				}
				return works(ctx, target)
			}
		},
		"nothing was done": func(_ *Suite, e *example, _ *state) {
			e.cleanup = func(context.Context, cleanup.Target) error { return nil }
		},
		"changed the Node": func(_ *Suite, e *example, _ *state) {
			works := e.cleanup
			e.cleanup = func(ctx context.Context, target cleanup.Target) error {
				target.Node.Labels = map[string]string{"gone": "true"}
				return works(ctx, target)
			}
		},
		"gave a secret away": func(_ *Suite, e *example, _ *state) {
			works := e.cleanup
			e.cleanup = func(ctx context.Context, target cleanup.Target) error {
				target.Log.Debug("sending", "token", canary)
				return works(ctx, target)
			}
		},
		"broken with " + canary: func(_ *Suite, _ *example, st *state) {
			st.err = errors.New("broken with " + canary)
		},
		"the plugin did not fail": func(s *Suite, _ *example, _ *state) {
			s.Break = func(*testing.T) {}
		},
		"says that it is done": func(_ *Suite, e *example, _ *state) {
			works := e.cleanup
			e.cleanup = func(ctx context.Context, target cleanup.Target) error {
				err := works(ctx, target)
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		},
		"is not to be tried again": func(_ *Suite, e *example, _ *state) {
			works := e.cleanup
			e.cleanup = func(ctx context.Context, target cleanup.Target) error {
				return cleanup.Permanent(works(ctx, target))
			}
		},
		"did not wait": func(s *Suite, _ *example, _ *state) {
			s.Hang = func(*testing.T, *corev1.Node) <-chan struct{} { return nil }
		},
	}
}

// state is the other side of the example.
type state struct {
	effects int
	waiting chan struct{}
	broken  bool
	err     error
	turn    chan struct{}
}

func run(t *testing.T, breaker func(*Suite, *example, *state)) {
	st := &state{err: errors.New("broken"), turn: make(chan struct{}, 1)}
	e := &example{
		effect:  cleanup.Effect{Action: cleanup.Call, Object: cleanup.Object{Kind: cleanup.KindURL, Name: "https://example.com"}},
		preview: func(context.Context, cleanup.Target) error { return nil },
		cleanup: func(ctx context.Context, _ cleanup.Target) error {
			st.turn <- struct{}{}
			defer func() { <-st.turn }()
			st.effects++
			if st.waiting != nil {
				close(st.waiting)
				<-ctx.Done()
				return ctx.Err()
			}
			if st.broken {
				return st.err
			}
			return nil
		},
	}
	s := Suite{
		Descriptor: cleanup.Descriptor{
			Name: "example", Summary: "does something", Defaults: cleanup.Policy{Timeout: time.Second},
			Bind: cleanup.Options(struct{}{}, func(struct{}) (cleanup.Plugin, error) { return e, nil }),
		},
		Effects: func(*testing.T) int { return st.effects },
		Hang: func(t *testing.T, _ *corev1.Node) <-chan struct{} {
			waiting := make(chan struct{})
			st.waiting = waiting
			t.Cleanup(func() { st.waiting = nil })
			return waiting
		},
		Break:  func(*testing.T) { st.broken = true },
		Canary: canary,
	}
	breaker(&s, e, st)
	Run(t, s)
}

func TestEachContractViolationIsFound(t *testing.T) {
	const variable = "PLUGINTEST_BREAKS"
	if promise, child := os.LookupEnv(variable); child {
		run(t, breakers()[promise])
		return
	}
	for promise := range breakers() {
		t.Run(promise, func(t *testing.T) {
			// The inner test has to fail, and would fail this test too. So it runs in another
			// process.
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEachContractViolationIsFound$")
			child.Env = append(os.Environ(), variable+"="+promise)
			output, err := child.CombinedOutput()
			if broken := promise != ""; (err != nil) != broken || !strings.Contains(string(output), promise) {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}
