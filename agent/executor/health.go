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

// Health is the result of the health check of a step's plugin.
type Health struct {
	Step config.Step
	// Checks is false for a plugin that has no health check.
	Checks bool
	// Err is the fault, nil for a healthy plugin.
	Err error
}

const (
	// healthTimeout is how long a health check may take.
	healthTimeout = 10 * time.Second
	// hangsFor is how long a plugin is not checked again after a health check timed out. The hanging call
	// may never return, even after the plugin has recovered.
	hangsFor = 5 * time.Minute
)

// CheckHealth checks the health of all plugins of the steps at the same time. It returns the results in
// the order of the steps. A plugin whose check times out or panics is unhealthy.
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

// checkHealth checks the health of one plugin. While an earlier check of the plugin hangs, it starts a
// new one only every hangsFor, so that hanging calls do not pile up.
//
// Checks for several Nodes run at the same time and do not share a result: an earlier check may have
// begun before the Secret existed that the plugin needs.
func (e *Executor) checkHealth(ctx context.Context, step config.Step, checker cleanup.HealthChecker) error {
	var key any = step.Name
	if reflect.ValueOf(step.Bound).Comparable() {
		key = step.Bound // A new config has new plugins, which do not hang yet.
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

// hangs reports whether a plugin must not be checked now because an earlier check hangs. After hangsFor,
// it returns false to one caller, which checks the plugin again.
func (e *Executor) hangs(key any) bool {
	since, hangs := e.hanging.Load(key)
	if !hangs {
		return false
	}
	return e.clock.Since(since.(time.Time)) < hangsFor || !e.hanging.CompareAndSwap(key, since, e.clock.Now())
}

// Blocking returns the message that names the unhealthy critical steps. It returns "" if there are none:
// the cleanup may begin.
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
