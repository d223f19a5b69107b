package brake

import (
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// state is what the Brake decides by.
type state struct {
	// known: pause and brake are read.
	known bool
	pause api.Pause
	brake api.Brake
	// status identifies the ConfigMap that both are in.
	status corev1.ObjectReference
}

// nodes returns all Nodes; known is false before they were listed for the first time.
type nodes func() (all []*nodecache.Node, known bool)

// evaluate engages or releases the brake, and decides whether a maintenance window is open.
//
// A Node that waits because of the brake terminates all the same. So the brake never waits until
// few Nodes terminate: it is released when few were deleted lately. And only what happens after a
// release engages it again.
func (s *state) evaluate(settings *config.Config, nodes nodes, now time.Time) {
	now = now.Truncate(time.Second) // As it is stored.
	s.brake.WindowOpensAt = nil
	if _, open := settings.Windows.OpenSince(now); !open {
		s.brake.WindowOpensAt = stamp(settings.Windows.Next(now))
	}
	switch rules := settings.Brake; {
	case s.brake.Since != nil && !s.brake.Engaged(s.pause):
		s.release(s.pause.At)
	case s.brake.Since == nil:
		if reason := tooMany(rules, nodes, s.releasedAt()); reason != "" {
			s.brake.Since, s.brake.Reason = stamp(now), reason
		}
	case !rules.Enabled(), s.quiet(rules, nodes, now):
		s.release(now)
	}
}

// quiet reports whether the brake has been engaged for long enough, and would not have been
// engaged by what happened meanwhile.
func (s *state) quiet(rules config.Brake, nodes nodes, now time.Time) bool {
	since := now.Add(-rules.ReleaseAfter)
	if _, known := nodes(); !known || rules.ReleaseAfter == 0 || s.brake.Since.After(since) {
		return false
	}
	return tooMany(rules, nodes, since) == ""
}

// tooMany returns why the brake is engaged by the deletions after a time, "" if it is not.
func tooMany(rules config.Brake, nodes nodes, after time.Time) string {
	if !rules.MaxTerminating.Set() {
		return ""
	}
	all, _ := nodes()
	protected, terminating := 0, 0
	for _, node := range all {
		if !api.HasFinalizer(node) {
			continue
		}
		protected++
		if deleted := node.DeletionTimestamp; deleted != nil && deleted.After(after) {
			terminating++
		}
	}
	if terminating <= rules.MaxTerminating.Of(protected) {
		return ""
	}
	return fmt.Sprintf("%d of %d protected nodes are terminating (limit %s)", terminating, protected, rules.MaxTerminating)
}

func (s *state) release(at time.Time) {
	s.brake.Since, s.brake.Reason, s.brake.ReleasedAt = nil, "", stamp(at)
}

// releasedAt returns the time before which nothing engages the brake.
func (s *state) releasedAt() time.Time {
	var at time.Time
	if s.brake.ReleasedAt != nil {
		at = s.brake.ReleasedAt.Time
	}
	if !s.pause.Paused && s.pause.At.After(at) {
		at = s.pause.At
	}
	return at
}

// reason returns why no cleanup may begin, "" if cleanups may begin.
func (s *state) reason() string {
	switch {
	case !s.known:
		return "the agent cannot read whether cleanups are paused (configmap " + api.StatusName + ")"
	case s.pause.Paused:
		return s.pause.String()
	case s.brake.Since != nil:
		return s.brake.String()
	case s.brake.WindowOpensAt != nil:
		return "waiting for the maintenance window that opens at " + s.brake.WindowOpensAt.UTC().Format(time.RFC3339)
	}
	return ""
}

// openFor returns for how long cleanups have been allowed to begin.
func (s *state) openFor(windows config.Windows, now time.Time) time.Duration {
	if s.reason() != "" {
		return 0
	}
	since := s.releasedAt()
	if opened, _ := windows.OpenSince(now); opened.After(since) {
		since = opened
	}
	if since.IsZero() {
		return math.MaxInt64 // They always were.
	}
	return max(0, now.Sub(since))
}

func stamp(at time.Time) *metav1.Time { return &metav1.Time{Time: at.UTC()} }
