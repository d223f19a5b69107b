package executor

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

type checked struct {
	pluginFunc
	check func(context.Context) error
}

func (c checked) CheckHealth(ctx context.Context) error { return c.check(ctx) }

func TestHealthChecksRunInParallelAndCriticalStepsBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		step := func(name string, check func(context.Context) error, change ...func(*config.Step)) config.Step {
			step := b.step(name, nil, change...)
			step.Bound = checked{check: check}
			return step
		}
		began := time.Now()
		answers := New(clock.RealClock{}, func() float64 { return 0 }, hush).CheckHealth(t.Context(), []config.Step{
			b.step("cannot-tell", succeed),
			step("good", func(context.Context) error { return nil }),
			step("ill", func(context.Context) error { return errors.New("no token") }),
			step("optional", func(context.Context) error { return errors.New("no channel") }, optional),
			step("panics", func(context.Context) error { panic("nil map") }),
			step("hangs", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }),
			step("hangs-too", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }),
		})
		if took := time.Since(began); took != healthTimeout {
			t.Errorf("took %s", took)
		}
		said := UnhealthyCriticalSteps(answers)
		for _, want := range []string{"step ill (test): no token", "step panics (test): the health check panicked: nil map", "step hangs (test): no answer", "step hangs-too"} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is missing in %q", want, said)
			}
		}
		for _, unwanted := range []string{"optional", "good", "cannot-tell"} {
			if strings.Contains(said, unwanted) {
				t.Errorf("%q is in %q", unwanted, said)
			}
		}
		if answers[0].Checks || !answers[1].Checks || answers[1].Err != nil || answers[2].Err == nil {
			t.Errorf("the answers are %+v", answers[:3])
		}
		if said := UnhealthyCriticalSteps(answers[3:4]); said != "" {
			t.Errorf("an optional step blocks: %q", said)
		}
	})
}

// Another program can choose the text of the error, and the agent's status has it.
func TestErrorOfAHealthCheckIsShort(t *testing.T) {
	b := newBench(t)
	step := b.step("ill", nil)
	step.Bound = checked{check: func(context.Context) error { return errors.New(strings.Repeat("x", 1<<20)) }}
	for _, health := range New(clock.RealClock{}, func() float64 { return 0 }, hush).CheckHealth(t.Context(), []config.Step{step}) {
		if length := len(health.Err.Error()); length > 2*maxText {
			t.Errorf("the error has %d bytes", length)
		}
	}
}

// The agent checks the health every minute: it must not leave behind one goroutine each time.
func TestHangingPluginIsNotCheckedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, asked, answer := newBench(t), 0, make(chan error)
		step := b.step("hangs", nil)
		step.Bound = checked{check: func(context.Context) error { asked++; return <-answer }}
		executor := New(clock.RealClock{}, func() float64 { return 0 }, hush)
		check := func(want string) {
			t.Helper()
			said := UnhealthyCriticalSteps(executor.CheckHealth(t.Context(), []config.Step{step}))
			if synctest.Wait(); !strings.Contains(said, want) {
				t.Errorf("said %q, want %q", said, want)
			}
		}
		check("no answer to the health check within 10s")
		check("still no answer to an earlier health check")
		if asked != 1 {
			t.Errorf("it was asked %d times", asked)
		}
		answer <- errors.New("no token")
		synctest.Wait()
		close(answer)
		check("")
		if asked != 2 {
			t.Errorf("it was asked %d times", asked)
		}
	})
}

// A call that hangs may never return, such as a read from a dead socket.
func TestHangingPluginIsCheckedAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stuck := newBench(t), make(chan error)
		var mutex sync.Mutex
		asked, healthy := 0, false
		step := b.step("hangs", nil)
		step.Bound = checked{check: func(context.Context) error {
			mutex.Lock()
			asked++
			hangs := !healthy
			mutex.Unlock()
			if hangs {
				return <-stuck
			}
			return nil
		}}
		executor := New(clock.RealClock{}, func() float64 { return 0 }, hush)
		all := func() (blocked int) {
			var group sync.WaitGroup
			for range 50 {
				group.Go(func() {
					if UnhealthyCriticalSteps(executor.CheckHealth(t.Context(), []config.Step{step})) != "" {
						mutex.Lock()
						defer mutex.Unlock()
						blocked++
					}
				})
			}
			group.Wait()
			return blocked
		}
		executor.CheckHealth(t.Context(), []config.Step{step})
		<-time.After(retryHungAfter - time.Second)
		if blocked := all(); blocked != 50 || asked != 1 {
			t.Errorf("before its time %d of 50 are blocked, and it was asked %d times", blocked, asked)
		}
		<-time.After(time.Second)
		if blocked := all(); blocked != 50 || asked != 2 {
			t.Errorf("while it hangs %d of 50 are blocked, and it was asked %d times", blocked, asked)
		}
		healthy = true
		<-time.After(retryHungAfter)
		all() // The first of them reports that it is healthy.
		if blocked := all(); blocked != 0 {
			t.Errorf("of 50 nodes %d are blocked although the plugin is healthy", blocked)
		}
		close(stuck)
	})
}

// A thousand Nodes that are deleted at once request a check each, during the periodic check.
func TestConcurrentHealthChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		step := b.step("slow", nil)
		step.Bound = checked{check: func(context.Context) error { <-time.After(healthTimeout / 2); return nil }}
		executor := New(clock.RealClock{}, func() float64 { return 0 }, hush)
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() {
				if said := UnhealthyCriticalSteps(executor.CheckHealth(t.Context(), []config.Step{step})); said != "" {
					t.Errorf("said %q", said)
				}
			})
		}
		group.Wait()
	})
}
