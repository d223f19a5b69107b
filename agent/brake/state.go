package brake

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// state is the state of a Brake.
type state struct {
	// known: pause and brake have been read.
	known bool
	pause api.Pause
	brake api.Brake
	// lastRefusedAt is when the API server last rejected too many requests.
	lastRefusedAt time.Time
	// firing are the alerts that fired at the last read. alertsRead: there was a read.
	// lastAlertAt is when an alert last fired.
	firing      []string
	alertsRead  bool
	lastAlertAt time.Time
	// status refers to the ConfigMap that holds pause and brake.
	status corev1.ObjectReference
	// pauseLost: the ConfigMap was deleted during a pause, and the new one lacks the pause.
	// ResourceVersion of status is the version that lacks it.
	pauseLost bool
	// brakeBroken: the stored state of the brake cannot be decoded.
	brakeBroken bool
}

// signals are the inputs of the brake.
type signals struct {
	// nodes returns all Nodes; known is false before the first list.
	nodes    func() (all []*nodecache.Node, known bool)
	requests *Requests
}

// minRequests is the smallest sample whose share is significant: the Lease renewals of an idle leader alone
// are 30 requests a minute.
const minRequests = 20

// evaluate engages or releases the brake, and decides whether a maintenance window is open.
//
// A Node that waits because of the brake still terminates. So the brake is released when few Nodes were
// deleted recently, not when few terminate. Only new events after a release engage it again.
func (s *state) evaluate(settings *config.Config, from signals, now time.Time) {
	now = now.Truncate(time.Second) // Stored times have a precision of one second.
	s.brake.WindowOpensAt = nil
	if _, open := settings.Windows.OpenSince(now); !open {
		s.brake.WindowOpensAt = stamp(settings.Windows.Next(now))
	}
	rules := settings.Brake
	refused := tooManyErrors(rules.APIServerErrors, from.requests, s.releasedAt(), now)
	if refused != "" {
		s.lastRefusedAt = now
	}
	alerts := s.evaluateAlerts(rules, now)
	switch {
	case s.brake.Since != nil && !s.brake.Engaged(s.pause):
		s.release(s.pause.At)
	case s.brake.Since == nil:
		if reason := cmp.Or(tooMany(rules, from, s.releasedAt()), refused, alerts); reason != "" {
			s.brake.Since, s.brake.Reason = stamp(now), reason
		}
	case !rules.Enabled(), s.quiet(rules, from, now):
		s.release(now)
	}
}

// quiet reports whether nothing would have engaged the brake during releaseAfter.
func (s *state) quiet(rules config.Brake, from signals, now time.Time) bool {
	since := now.Add(-rules.ReleaseAfter)
	if _, known := from.nodes(); !known || rules.ReleaseAfter == 0 || s.brake.Since.After(since) || s.lastRefusedAt.After(since) || s.lastAlertAt.After(since) {
		return false
	}
	return tooMany(rules, from, since) == ""
}

// tooMany returns why the deletions after a time engage the brake, "" if they do not.
func tooMany(rules config.Brake, from signals, after time.Time) string {
	if !rules.MaxTerminating.Set() {
		return ""
	}
	all, _ := from.nodes()
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
	since := ""
	if !after.IsZero() { // Others may terminate that were deleted before.
		since = " and were deleted after " + after.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%d of %d protected nodes are terminating%s (limit %s)", terminating, protected, since, rules.MaxTerminating)
}

// tooManyErrors returns why the recent answers of the API server after a time engage the brake, "" if
// they do not.
func tooManyErrors(rules config.APIServerErrors, requests *Requests, after, now time.Time) string {
	if rules.Percent == 0 {
		return ""
	}
	if since := now.Add(-rules.Over); since.After(after) {
		after = since
	}
	refused, all := requests.since(after)
	if all < minRequests || refused*100 <= rules.Percent*all {
		return ""
	}
	return fmt.Sprintf("%d of %d API requests failed with 429 or 5xx since %s (limit %d%%)", refused, all, after.UTC().Format(time.RFC3339), rules.Percent)
}

// evaluateAlerts returns why alerts engage the brake, "" if they do not.
func (s *state) evaluateAlerts(rules config.Brake, now time.Time) string {
	if len(rules.Alerts.Names) == 0 {
		s.firing, s.alertsRead, s.brake.Alerts, s.brake.AlertsError = nil, false, nil, ""
		return ""
	}
	if !s.alertsRead {
		if len(s.brake.Alerts) > 0 { // They may still fire.
			s.lastAlertAt = now
		}
		return ""
	}
	isNew := func(name string) bool { return !slices.Contains(s.brake.Alerts, name) }
	engages := slices.ContainsFunc(s.firing, isNew)
	s.brake.Alerts = s.firing
	if len(s.firing) > 0 {
		s.lastAlertAt = now
	}
	if !engages {
		return ""
	}
	return "alerts are firing: " + strings.Join(s.firing, ", ")
}

func (s *state) release(at time.Time) {
	s.brake.Since, s.brake.Reason, s.brake.ReleasedAt = nil, "", stamp(at)
}

// releasedAt returns the time of the last release: earlier events do not engage the brake.
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
		return "outside the maintenance windows; the next one opens at " + s.brake.WindowOpensAt.UTC().Format(time.RFC3339)
	}
	return ""
}

// paused returns why an operator or the brake pauses cleanups, "" if neither does. It ignores maintenance
// windows.
func (s *state) paused() string {
	if s.pause.Paused {
		return s.pause.String()
	}
	return s.brake.String()
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
		return math.MaxInt64 // Cleanups were always allowed.
	}
	return max(0, now.Sub(since))
}

func stamp(at time.Time) *metav1.Time { return &metav1.Time{Time: at.UTC()} }
