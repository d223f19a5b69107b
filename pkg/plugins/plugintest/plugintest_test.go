package plugintest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

const canary = "canary-7f3a"

// example is a plugin that fulfils the contract except for the parts that a test breaks.
type example struct {
	cleanup, preview, withdraw func(ctx context.Context, target cleanup.Target) error
	verify                     func(target cleanup.Target) (undone string, err error)
	effect                     cleanup.Effect
	health                     func() error
	applies                    func(node *corev1.Node) (applies bool, reason string)
	rules                      []rbacv1.PolicyRule
	outputs                    []string
}

func (e example) Cleanup(ctx context.Context, target cleanup.Target) error {
	return e.cleanup(ctx, target)
}

func (e example) Preview(ctx context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	return []cleanup.Effect{e.effect}, e.preview(ctx, target)
}

func (e example) Verify(_ context.Context, target cleanup.Target) (string, error) {
	return e.verify(target)
}

func (e example) Withdraw(ctx context.Context, target cleanup.Target) error {
	return e.withdraw(ctx, target)
}

func (e example) CheckHealth(context.Context) error        { return e.health() }
func (e example) Applies(node *corev1.Node) (bool, string) { return e.applies(node) }
func (e example) Rules() []rbacv1.PolicyRule               { return e.rules }
func (e example) OutputNames() []string                    { return e.outputs }

// breakers are named after the promise that they break; "" is none.
func breakers() map[string]func(*Suite, *example, *state) {
	return map[string]func(*Suite, *example, *state){
		"": func(*Suite, *example, *state) {},
		"is not a valid name of a plugin": func(s *Suite, _ *example, _ *state) {
			s.Descriptor.Name = "No Name"
		},
		"no default timeout": func(s *Suite, _ *example, _ *state) {
			s.Descriptor.Defaults.Timeout = 0
		},
		"an unknown option was accepted": func(s *Suite, e *example, _ *state) {
			s.Descriptor.Bind = func([]byte) (cleanup.Plugin, []error) { return e, nil }
		},
		"neither a schema nor the names of the options": func(s *Suite, _ *example, _ *state) {
			s.Descriptor.Options = nil
		},
		"a rule lacks verbs":       func(_ *Suite, e *example, _ *state) { e.rules[0].Verbs = nil },
		"a rule grants everything": func(_ *Suite, e *example, _ *state) { e.rules[0].Resources = []string{"*"} },
		"does not apply to the node of the test": func(_ *Suite, e *example, _ *state) {
			e.applies = func(*corev1.Node) (bool, string) { return false, "never" }
		},
		"for an exempt node the plugin says true": func(_ *Suite, e *example, _ *state) {
			e.applies = func(*corev1.Node) (bool, string) { return true, "" }
		},
		"for an exempt node the plugin says false and the reason \"\"": func(_ *Suite, e *example, _ *state) {
			e.applies = func(node *corev1.Node) (bool, string) { return node.Name != exempt, "" }
		},
		"the suite has no Exempt": func(s *Suite, _ *example, _ *state) { s.Exempt = nil },
		"the plugin is unhealthy": func(_ *Suite, e *example, st *state) {
			e.health = func() error { return errors.New("always") }
		},
		"the health check changed something": func(_ *Suite, e *example, st *state) {
			healthy := e.health
			e.health = func() error { st.effects++; return healthy() }
		},
		"the health check did not fail": func(_ *Suite, e *example, _ *state) { e.health = func() error { return nil } },
		"the suite has no Unhealthy":    func(s *Suite, _ *example, _ *state) { s.Unhealthy = nil },
		"after the cleanup it is not done": func(_ *Suite, e *example, _ *state) {
			e.verify = func(cleanup.Target) (string, error) { return "something", nil }
		},
		"did not find undone work": func(_ *Suite, e *example, _ *state) {
			e.verify = func(cleanup.Target) (string, error) { return "", nil }
		},
		"verifying: no answer": func(_ *Suite, e *example, _ *state) {
			e.verify = func(cleanup.Target) (string, error) { return "", errors.New("no answer") }
		},
		"the verification changed something": func(_ *Suite, e *example, st *state) {
			works := e.verify
			e.verify = func(target cleanup.Target) (string, error) { st.effects++; return works(target) }
		},
		"withdrawing: nothing to withdraw": func(_ *Suite, e *example, _ *state) {
			e.withdraw = func(context.Context, cleanup.Target) error { return errors.New("nothing to withdraw") }
		},
		"are map[ticket:2] after a restart": func(_ *Suite, e *example, st *state) {
			works := e.cleanup
			e.cleanup = func(ctx context.Context, target cleanup.Target) error {
				return errors.Join(works(ctx, target), target.Output("ticket", strconv.Itoa(target.Attempt)))
			}
		},
		"the output number is not in OutputNames": func(_ *Suite, e *example, _ *state) {
			works := e.cleanup
			e.cleanup = func(ctx context.Context, target cleanup.Target) error {
				return errors.Join(works(ctx, target), target.Output("number", "1"))
			}
		},
		"recording output \"no name\"": func(_ *Suite, e *example, _ *state) { e.outputs = []string{"no name"} },
		"the other system 7s": func(_ *Suite, _ *example, st *state) {
			st.throttled = errors.New("busy")
		},
		"does not say that no retry helps": func(_ *Suite, _ *example, st *state) {
			st.refused = errors.New("refused")
		},
		"not to be tried again: down": func(_ *Suite, _ *example, st *state) {
			st.err = cleanup.Permanent(errors.New("down"))
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

// exempt is the name of the Node that the example does not apply to.
const exempt = "conformance-exempt"

// state is the other side of the example.
type state struct {
	effects int
	waiting chan struct{}
	// failure is the error of each Cleanup, nil for none. It is one of the three below.
	failure                 error
	err, throttled, refused error
	unhealthy               bool
	// undone is the name of the Node whose work is undone.
	undone string
	turn   chan struct{}
}

func run(t *testing.T, breaker func(*Suite, *example, *state)) {
	st := &state{
		err: errors.New("broken"), throttled: cleanup.RetryAfter(errors.New("busy"), 7*time.Second), refused: cleanup.Permanent(errors.New("refused")),
		turn: make(chan struct{}, 1),
	}
	fail := func(t *testing.T, err error) {
		st.failure = err
		t.Cleanup(func() { st.failure = nil })
	}
	e := &example{
		withdraw: func(context.Context, cleanup.Target) error { return nil },
		verify: func(target cleanup.Target) (string, error) {
			if st.undone == target.Node.Name {
				return "the work is undone", nil
			}
			return "", nil
		},
		health: func() error {
			if st.unhealthy {
				return errors.New("unhealthy")
			}
			return nil
		},
		applies: func(node *corev1.Node) (bool, string) { return node.Name != exempt, "it is exempt" },
		rules:   []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}},
		outputs: []string{"ticket"},
		effect:  cleanup.Effect{Action: cleanup.Call, Object: cleanup.Object{Kind: cleanup.KindURL, Name: "https://example.com"}},
		preview: func(context.Context, cleanup.Target) error { return nil },
		cleanup: func(ctx context.Context, target cleanup.Target) error {
			st.turn <- struct{}{}
			defer func() { <-st.turn }()
			st.effects++
			if st.waiting != nil {
				close(st.waiting)
				<-ctx.Done()
				return ctx.Err()
			}
			if st.failure == nil && st.undone == target.Node.Name {
				st.undone = ""
			}
			return st.failure
		},
	}
	s := Suite{
		Descriptor: cleanup.Descriptor{
			Name: "example", Summary: "does something", Defaults: cleanup.Policy{Timeout: time.Second}, Options: cleanup.OptionNames[struct{}](),
			Bind: cleanup.Options(struct{}{}, func(struct{}) (cleanup.Plugin, error) { return e, nil }),
		},
		Effects: func(*testing.T) int { return st.effects },
		Hang: func(t *testing.T, _ *corev1.Node) <-chan struct{} {
			waiting := make(chan struct{})
			st.waiting = waiting
			t.Cleanup(func() { st.waiting = nil })
			return waiting
		},
		Break:  func(t *testing.T) { fail(t, st.err) },
		Refuse: func(t *testing.T) { fail(t, st.refused) },
		Throttle: func(t *testing.T) time.Duration {
			fail(t, st.throttled)
			return 7 * time.Second
		},
		Undo: func(_ *testing.T, node *corev1.Node) { st.undone = node.Name },
		Exempt: func(_ *testing.T, name string) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		},
		Unhealthy: func(t *testing.T) { st.unhealthy = true; t.Cleanup(func() { st.unhealthy = false }) },
		Canary:    canary,
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
