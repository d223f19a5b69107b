package executor

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

type previewer struct {
	pluginFunc
	effects []cleanup.Effect
	err     error
}

func (p previewer) Preview(context.Context, cleanup.Target) ([]cleanup.Effect, error) {
	return p.effects, p.err
}

// evicts is the result of a preview.
var evicts = []cleanup.Effect{{Action: cleanup.Evict, Object: cleanup.Object{Kind: cleanup.KindPod, Namespace: "shop", Name: "cart-0"}}}

func TestDryRunPreviewsAndNeverCleansUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		forbidden := pluginFunc(func(context.Context, cleanup.Target) error { t.Error("cleaned up"); return nil })
		tells := b.step("tells", nil)
		tells.Bound = previewer{forbidden, evicts, nil}
		broken := b.step("broken", nil)
		broken.Bound = previewer{forbidden, nil, errors.New("no answer")}
		outcome, err := b.with(NewPreviewer(clock.RealClock{}, func() float64 { return 0 }, hush), t.Context(), 1, tells, broken, b.step("silent", forbidden))
		b.expect(outcome, err, api.Succeeded)
		for name, want := range map[string]string{"tells": "evict shop/cart-0", "broken": "preview failed: no answer", "silent": "the plugin does not support previews"} {
			if said := b.record.Step(name).Would(); !slices.Equal(said, []string{want}) {
				t.Errorf("step %s said %q, want %q", name, said, want)
			}
		}
	})
}

type previewFunc func(context.Context) ([]cleanup.Effect, error)

func (previewFunc) Cleanup(context.Context, cleanup.Target) error { panic("cleaned up") }

func (f previewFunc) Preview(ctx context.Context, _ cleanup.Target) ([]cleanup.Effect, error) {
	return f(ctx)
}

func TestDryRunSucceedsIfAPreviewPanicsOrHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		step := func(name string, do previewFunc) config.Step {
			step := b.step(name, nil, retries(5))
			step.Bound = do
			return step
		}
		outcome, err := b.with(NewPreviewer(clock.RealClock{}, func() float64 { return 0 }, hush), t.Context(), 4,
			step("panics", func(context.Context) ([]cleanup.Effect, error) { panic("nil map") }),
			step("listens", func(ctx context.Context) ([]cleanup.Effect, error) { <-ctx.Done(); return evicts, ctx.Err() }),
			step("hangs", func(context.Context) ([]cleanup.Effect, error) { <-time.After(time.Hour); return nil, nil }))
		b.expect(outcome, err, api.Succeeded)
		for name, want := range map[string]string{
			"panics":  "preview failed: plugin test panicked: nil map",
			"listens": "evict shop/cart-0; preview failed: step listens did not finish within 1m0s",
			"hangs":   "preview failed: step hangs did not finish within 1m0s, and plugin test did not stop",
		} {
			if step := b.record.Step(name); !strings.Contains(strings.Join(step.Would(), "; "), want) || step.Attempts != 1 || step.Failures != 0 {
				t.Errorf("step %s: %+v, want it to say %q", name, step, want)
			}
		}
		<-time.After(2 * time.Hour) // The bubble waits for the plugin to end.
	})
}

func TestEffectsAreRedactedBeforeTheyAreShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		tells, many := b.step("tells", nil), slices.Repeat(evicts, 1000)
		tells.Bound = previewer{effects: many, err: errors.New(strings.Repeat("x", maxText-len("preview failed: can")) + "canary")}
		broken := b.step("broken", nil)
		broken.Bound = previewer{err: tells.Bound.(previewer).err}
		if _, err := b.with(NewPreviewer(clock.RealClock{}, func() float64 { return 0 }, hush), t.Context(), 1, tells, broken); err != nil {
			t.Fatal(err)
		}
		if said := b.record.Step("tells").Would(); len(said) != maxEffects+1 || said[maxEffects] != "and 951 more" {
			t.Errorf("%d lines are kept, the last is %q", len(said), said[len(said)-1])
		}
		if said := b.record.Step("broken").Would()[0]; strings.Contains(said, "can…") || len(said) > maxText+len("…") {
			t.Errorf("kept %q", said)
		}
	})
}

func TestEveryTextOfAnEffectIsRedacted(t *testing.T) {
	executor := New(clock.RealClock{}, func() float64 { return 0 }, hush)
	given := cleanup.Effect{
		Action: "canary", Object: cleanup.Object{Kind: "canary", Namespace: "canary", Name: "canary"}, Reason: "canary", Unchecked: "canary",
		Blocked: &cleanup.Blocker{Cause: "canary", Message: "canary", Option: "canary"},
	}
	data, err := json.Marshal(executor.redactEffects([]cleanup.Effect{given}))
	if err != nil || strings.Contains(string(data), "canary") {
		t.Errorf("kept %s, %v", data, err)
	}
	if given.Blocked.Message != "canary" {
		t.Error("the plugin's own value was changed")
	}
}

func TestShortenedTextIsValidUTF8(t *testing.T) {
	for _, before := range []int{0, 1} {
		text := strings.Repeat("x", before) + strings.Repeat("ü", maxText)
		if cut := shorten(text); !utf8.ValidString(cut) || len(cut) < maxText || !strings.HasPrefix(text, strings.TrimSuffix(cut, "…")) {
			t.Errorf("cut to %d bytes: %q", len(cut), cut[len(cut)-8:])
		}
	}
}
