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

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Health is the result of a step's health check.
type Health struct {
	Step config.Step
	// Checks is false if the plugin has no health check.
	Checks bool
	// Err is the fault, nil for a healthy plugin.
	Err error
}

const (
	// healthTimeout limits one health check.
	healthTimeout = 10 * time.Second
	// retryHungAfter is the wait before the agent checks a plugin again whose health check did not
	// return. That call may never return, even after the plugin has recovered.
	retryHungAfter = 5 * time.Minute
)

// CheckHealth checks the health of all plugins of the steps at the same time. It returns the results in
// the order of the steps. A plugin whose check times out or panics is unhealthy.
func (e *Executor) CheckHealth(ctx context.Context, steps []config.Step) []Health {
	results := make([]Health, len(steps))
	var group sync.WaitGroup
	for i, step := range steps {
		results[i].Step = step
		if checker, can := step.Bound.(cleanup.HealthChecker); can {
			results[i].Checks = true
			group.Go(func() { results[i].Err = e.checkRedacted(ctx, "step "+step.Name, checker) })
		}
	}
	group.Wait()
	return results
}

// NotificationHealth is the result of a notification's health check. Its fields are as those of Health.
type NotificationHealth struct {
	Notification config.Notification
	Checks       bool
	Err          error
}

// CheckNotifications is like CheckHealth for the plugins of notifications.
func (e *Executor) CheckNotifications(ctx context.Context, notifications []config.Notification) []NotificationHealth {
	results := make([]NotificationHealth, len(notifications))
	var group sync.WaitGroup
	for i, notification := range notifications {
		results[i].Notification = notification
		if checker, can := notification.Bound.(cleanup.HealthChecker); can {
			results[i].Checks = true
			group.Go(func() { results[i].Err = e.checkRedacted(ctx, "notification "+notification.Name, checker) })
		}
	}
	group.Wait()
	return results
}

// checkRedacted runs one health check. If the API server denied a request, the error names the right that the agent
// lacks. It removes secrets from its error, and shortens it: another program can choose the text, and the ConfigMap of
// the agent's status holds at most 1 MiB.
func (e *Executor) checkRedacted(ctx context.Context, name string, checker cleanup.HealthChecker) error {
	if err := e.checkHealth(ctx, name, checker); err != nil {
		return errors.New(shorten(e.redact(access.Explain(err).Error())))
	}
	return nil
}

// checkHealth runs one health check. If an earlier check timed out and is still running, it returns an
// error, and starts at most one new check per retryHungAfter, so that hung checks do not accumulate.
//
// Concurrent checks do not share results: a Secret may have been created between them.
func (e *Executor) checkHealth(ctx context.Context, name string, checker cleanup.HealthChecker) error {
	var key any = name
	if reflect.ValueOf(checker).Comparable() {
		key = checker // A new config has new plugins, which do not hang yet.
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

// hangs reports whether to skip the check of a plugin that did not answer an earlier one. After
// retryHungAfter, it lets exactly one caller check again.
func (e *Executor) hangs(key any) bool {
	since, hangs := e.hanging.Load(key)
	if !hangs {
		return false
	}
	return e.clock.Since(since.(time.Time)) < retryHungAfter || !e.hanging.CompareAndSwap(key, since, e.clock.Now())
}

// UnhealthyCriticalSteps returns why the cleanup may not start: the critical steps that are unhealthy.
// It returns "" if there are none.
func UnhealthyCriticalSteps(results []Health) string {
	var lines []string
	for _, result := range results {
		if result.Err != nil && result.Step.Critical {
			lines = append(lines, fmt.Sprintf("step %s (%s): %s", result.Step.Name, result.Step.Plugin, shorten(result.Err.Error())))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	slices.Sort(lines)
	return api.NotStarted + strings.Join(lines, "; ")
}
