package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

func TestAwaitBrake(t *testing.T) {
	const paused = "cleanups paused by alice"
	begun := &api.Run{State: api.Running, Steps: []api.StepRun{{Name: "drain", State: api.StepRunning, Attempts: 1}}}
	for name, test := range map[string]struct {
		reason string
		run    *api.Run
		waits  bool
	}{
		"nothing is paused":                  {},
		"a cleanup that has not begun":       {reason: paused, waits: true},
		"a cleanup that preflight blocks":    {reason: paused, run: &api.Run{State: api.Blocked, Message: "unhealthy"}, waits: true},
		"a cleanup that has begun":           {reason: paused, run: begun},
		"a cleanup whose steps are all done": {reason: paused, run: &api.Run{State: api.Succeeded}},
	} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(nil)
			b := newTest(t, node)
			b.brake.reason = test.reason
			c := b.loaded(node, test.run)
			if done := b.awaitBrake(t.Context(), c); done.stop != test.waits || done.err != nil {
				t.Fatalf("the result is %+v, want stop %v", done, test.waits)
			}
			if !test.waits {
				b.wantNoEvent()
				return
			}
			b.wantEvent("CleanupWaiting Cleanup waits: " + paused)
			if condition := b.condition(); !strings.Contains(condition, `"reason":"Pending"`) || !strings.Contains(condition, paused) {
				t.Errorf("the condition is %s", condition)
			}
		})
	}
}

// The deadline of a Node that had to wait would release it before its cleanup could begin.
func TestReleasingDeadlineStartsWhenCleanupsMayBegin(t *testing.T) {
	for name, test := range map[string]struct {
		action   config.DeadlineAction
		open     time.Duration
		releases bool
		late     bool
	}{
		"never paused":                 {config.Release, 24 * time.Hour, true, true},
		"paused":                       {config.Release, 0, false, false},
		"resumed a minute ago":         {config.Release, time.Minute, false, false},
		"resumed a deadline ago":       {config.Release, time.Hour, true, true},
		"paused, and the action holds": {config.Hold, 0, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			node := deletedNode(nil)
			b := newTest(t, node)
			b.config.Deadline = config.Deadline{After: time.Hour, Action: test.action}
			b.clock.Step(2 * time.Hour)
			b.brake.open = test.open
			c := b.cleanup(node)
			if releases := b.deadlineReleases(c); releases != test.releases {
				t.Errorf("the deadline releases: %v", releases)
			}
			if remaining, _ := b.untilDeadline(c); (remaining <= 0) != test.late {
				t.Errorf("%s remain", remaining)
			}
		})
	}
}
