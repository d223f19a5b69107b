package executor

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Health is what the plugin of a step said when it was asked how it is.
type Health struct {
	Step config.Step
	// Checks is false for a plugin that cannot tell.
	Checks bool
	// Err is what is wrong, nil for a healthy plugin.
	Err error
}

const (
	// healthTimeout is how long a plugin may take to say how it is.
	healthTimeout = 10 * time.Second
	// hangsFor is how long one that did not is not asked again: what its check hangs in may
	// never return, long after the plugin is healthy.
	hangsFor = 5 * time.Minute
)

// CheckHealth asks, all at once, the plugins of the steps. It changes nothing,
// and returns their answers in the order of the steps. A plugin that does not
// answer in time, or panics, is not healthy.
func (e *Executor) CheckHealth(ctx context.Context, steps []config.Step) []Health {
	answers := make([]Health, len(steps))
	var group sync.WaitGroup
	for i, step := range steps {
		answers[i].Step = step
		if checker, can := step.Bound.(cleanup.HealthChecker); can {
			answers[i].Checks = true
			group.Go(func() {
				if err := e.checkHealth(ctx, step, checker); err != nil {
					answers[i].Err = errors.New(e.redact(err.Error()))
				}
			})
		}
	}
	group.Wait()
	return answers
}

// checkHealth asks a plugin, unless one that was asked before is past its time and has not come
// back: of a plugin that hangs, the checks of a minute do not pile up, but
// one every hangsFor.
// Checks of several nodes run beside each other, and none takes the answer of another: that one
// may have begun before the secret was there.
func (e *Executor) checkHealth(ctx context.Context, step config.Step, checker cleanup.HealthChecker) error {
	var key any = step.Name
	if reflect.ValueOf(step.Bound).Comparable() {
		key = step.Bound // The next config's is another one.
	}
	if e.hangs(key) {
		return errors.New("still no answer to an earlier health check")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer := make(chan error, 1)
	go func() {
		defer func() {
			if reason := recover(); reason != nil {
				answer <- fmt.Errorf("the health check panicked: %v", reason)
			}
		}()
		answer <- checker.CheckHealth(ctx)
	}()
	timeout := e.clock.NewTimer(healthTimeout)
	defer timeout.Stop()
	select {
	case err := <-answer:
		e.hanging.Delete(key)
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timeout.C():
		e.hanging.Store(key, e.clock.Now())
		go func() {
			<-answer
			e.hanging.Delete(key)
		}()
		return fmt.Errorf("no answer to the health check within %s", healthTimeout)
	}
}

// hangs reports whether a plugin that did not answer is not to be asked now. Of those that ask
// after its time-out, one is called again.
func (e *Executor) hangs(key any) bool {
	since, hangs := e.hanging.Load(key)
	if !hangs {
		return false
	}
	return e.clock.Since(since.(time.Time)) < hangsFor || !e.hanging.CompareAndSwap(key, since, e.clock.Now())
}

// Blocking returns what is to be said when a critical step is among those that
// are not healthy, or "": then the cleanup may begin.
func Blocking(answers []Health) string {
	var lines []string
	for _, one := range answers {
		if one.Err != nil && one.Step.Critical {
			lines = append(lines, fmt.Sprintf("step %s (%s): %s", one.Step.Name, one.Step.Plugin, shorten(one.Err.Error())))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	slices.Sort(lines)
	return "not started, a critical step is unhealthy: " + strings.Join(lines, "; ")
}
