package executor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// Unhealthy is a step whose plugin says that it would have no chance.
type Unhealthy struct {
	Step config.Step
	Err  error
}

// healthTimeout is how long a plugin may take to say how it is.
const healthTimeout = 10 * time.Second

// CheckHealth asks, all at once, the plugins of the steps that can tell. It
// changes nothing, and returns those that are not healthy, in the order of the
// steps. A plugin that does not answer in time, or panics, is not healthy.
func CheckHealth(ctx context.Context, clock clock.WithTicker, steps []config.Step) []Unhealthy {
	errs := make([]error, len(steps))
	var group sync.WaitGroup
	for i, step := range steps {
		if checker, can := step.Bound.(cleanup.HealthChecker); can {
			group.Go(func() { errs[i] = checkHealth(ctx, clock, checker) })
		}
	}
	group.Wait()
	var unhealthy []Unhealthy
	for i, err := range errs {
		if err != nil {
			unhealthy = append(unhealthy, Unhealthy{steps[i], err})
		}
	}
	return unhealthy
}

func checkHealth(ctx context.Context, clock clock.WithTicker, checker cleanup.HealthChecker) error {
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
	timeout := clock.NewTimer(healthTimeout)
	defer timeout.Stop()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timeout.C():
		return fmt.Errorf("no answer to the health check within %s", healthTimeout)
	}
}

// Blocking returns what is to be said when a critical step is among those that
// are not healthy, or "": then the cleanup may begin.
func Blocking(unhealthy []Unhealthy) string {
	var lines []string
	for _, one := range unhealthy {
		if one.Step.Critical {
			lines = append(lines, fmt.Sprintf("step %s (%s): %s", one.Step.Name, one.Step.Plugin, shorten(one.Err.Error())))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	slices.Sort(lines)
	return "nothing was begun, a critical step would fail: " + strings.Join(lines, "; ")
}
