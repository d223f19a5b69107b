package notify

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// sheet is a book with a clock.
type sheet struct {
	*testing.T
	*book
	now time.Time
	// reference is what the service returns.
	reference string
}

func newSheet(t *testing.T, on ...cleanup.NotificationKind) *sheet {
	if on == nil {
		on = cleanup.NotificationKinds()
	}
	keys := 0
	return &sheet{T: t, now: zero, book: newBook(config.Notification{
		Name: "ops", Events: on, NodeSelector: labels.Everything(), GroupWait: 30 * time.Second, RepeatInterval: 4 * time.Hour,
	}, func() string { keys++; return fmt.Sprintf("ops-%d", keys) })}
}

// is observes a Node now.
func (s *sheet) is(node string, kinds kinds, ended bool) {
	s.observe(observation{uid: types.UID("uid-of-" + node), node: node, kinds: kinds, ended: ended, endedAt: s.now, deletedBy: "ann", message: "reason of " + node}, s.now, false)
}

// until lets time pass until there is a message to send, and delivers it. It returns "" if there is none
// within that time.
func (s *sheet) until(limit time.Duration) (title string, at time.Duration) {
	s.Helper()
	end := s.now.Add(limit)
	for {
		g, wait := s.due(s.now)
		switch {
		case g != nil:
			m := s.compose(g)
			s.delivered(m, s.reference, s.now)
			return fmt.Sprintf("%s [%s %s]", m.Title, strings.TrimPrefix(m.ID, "ops-")[:3], m.Status()), s.now.Sub(zero)
		case wait == 0 || s.now.Add(wait).After(end):
			s.now = end
			return "", 0
		}
		s.now = s.now.Add(wait)
	}
}

// want fails unless the next message within an hour has this title, at this time after zero.
func (s *sheet) want(title string, at time.Duration) {
	s.Helper()
	if got, when := s.until(time.Hour); got != title || when != at {
		s.Fatalf("the next message is %q at %s, want %q at %s", got, when, title, at)
	}
}

// A service that cannot replace a message gets one when something new needs attention, and one at the end.
func TestGroupWithoutReference(t *testing.T) {
	s := newSheet(t)
	for i := range 3 {
		s.is(fmt.Sprint("n", i), started, false)
	}
	s.want("Cleanup of 3 nodes: 3 Started [1/1 Ongoing]", 30*time.Second)
	s.is("n0", started|succeeded, true)
	s.is("n3", started, false) // It joins the group.
	if title, _ := s.until(time.Minute); title != "" {
		t.Fatalf("a message that nobody needs: %s", title)
	}
	s.is("n1", started|failed, false)
	s.want("Cleanup of 4 nodes: 1 Failed, 1 Succeeded [1/2 Open]", 90*time.Second)
	s.is("n1", started|failed, false) // Saved again: no news.
	if title, _ := s.until(time.Hour); title != "" {
		t.Fatalf("a failure is reported twice: %s", title)
	}
	for i := range 4 {
		s.is(fmt.Sprint("n", i), started|succeeded, true)
	}
	s.want("Cleanup of 4 nodes: 4 Succeeded [1/3 Final]", time.Hour+90*time.Second)
	if title, _ := s.until(24 * time.Hour); title != "" {
		t.Fatalf("a message after the final one: %s", title)
	}
}

// A service that can replace a message gets every change, at most one in each groupWait.
func TestGroupWithReference(t *testing.T) {
	s := newSheet(t)
	s.reference = "message 1"
	s.is("n0", started, false)
	s.want("Cleanup of node n0: Started [1/1 Ongoing]", 30*time.Second)
	s.is("n1", started, false)
	s.is("n0", started|succeeded, true)
	s.want("Cleanup of 2 nodes: 1 Succeeded [1/2 Ongoing]", 60*time.Second)
	if g := s.groups[0]; g.Reference != "message 1" {
		t.Errorf("the reference is %q", g.Reference)
	}
	s.is("n1", started|succeeded, true)
	s.want("Cleanup of 2 nodes: 2 Succeeded [1/3 Final]", 90*time.Second)
}

// A cleanup that is repeated and fails again is reported again.
func TestFailureAfterRetryIsReported(t *testing.T) {
	s := newSheet(t, cleanup.NotifyFailed)
	s.is("n0", started|failed, false)
	s.want("Cleanup of node n0: Failed [1/1 Open]", 30*time.Second)
	s.is("n0", started, false)
	s.is("n0", started|failed, false)
	s.want("Cleanup of node n0: Failed [1/2 Open]", 60*time.Second)
	s.is("n0", started|succeeded, true)
	s.want("Cleanup of node n0: Succeeded [1/3 Final]", 90*time.Second)
}

func TestRepeatWhileAttentionIsNeeded(t *testing.T) {
	s := newSheet(t, cleanup.NotifyFailed)
	s.is("n0", started|failed, false)
	s.want("Cleanup of node n0: Failed [1/1 Open]", 30*time.Second)
	g, _ := s.due(s.now.Add(4 * time.Hour))
	if g == nil {
		t.Fatal("there is no message after repeatInterval")
	}
	if m := s.compose(g); !m.Repeat || !strings.HasPrefix(m.Text, "Still: Cleanup of node n0: Failed\nFailed: reason of n0\nDeleted by ann\nNext: ") {
		t.Errorf("the message is %+v", m)
	}
	if title, _ := s.until(4*time.Hour - time.Second); title != "" {
		t.Errorf("a message before repeatInterval: %s", title)
	}
}

// A cleanup is Blocked only after minutes, also if nothing else happens to it.
func TestBlockedIsReportedLate(t *testing.T) {
	s := newSheet(t, cleanup.NotifyBlocked)
	blocked := observation{uid: "u", node: "n0", kinds: started, blockedSince: zero, message: "budget cart"}
	s.observe(blocked, s.now, false)
	s.want("Cleanup of node n0: Blocked [1/1 Open]", BlockedAfter+30*time.Second)
	s = newSheet(t, cleanup.NotifyBlocked)
	s.observe(blocked, s.now, false)
	blocked.blockedSince = time.Time{}
	s.observe(blocked, s.now.Add(time.Minute), false)
	if title, _ := s.until(time.Hour); title != "" {
		t.Errorf("a message about a node that was blocked for a minute: %s", title)
	}
	s = newSheet(t) // In a group already.
	s.is("n0", started, false)
	s.want("Cleanup of node n0: Started [1/1 Ongoing]", 30*time.Second)
	s.observe(observation{uid: "uid-of-n0", node: "n0", kinds: started, blockedSince: zero, message: "budget cart"}, s.now, false)
	s.want("Cleanup of node n0: Blocked [1/2 Open]", BlockedAfter)
}

func TestPause(t *testing.T) {
	s := newSheet(t)
	pause := func(is bool) {
		o := observation{uid: pauseUID, kinds: paused, message: "storage array down"}
		if !is {
			o.kinds, o.ended, o.endedAt = 0, true, s.now
		}
		s.observe(o, s.now, false)
	}
	pause(false)
	pause(true)
	s.is("n0", started|succeeded, true) // In a group of its own.
	s.want("Cleanups are paused [1/1 Open]", 30*time.Second)
	s.want("Cleanup of node n0: Succeeded [2/1 Final]", 30*time.Second)
	pause(false)
	s.want("Cleanups may begin again [1/2 Final]", 60*time.Second)
	pause(false)
	pause(true)
	s.want("Cleanups are paused [3/1 Open]", 90*time.Second)
	pause(false)
	s.want("Cleanups may begin again [3/2 Final]", 120*time.Second)
	pause(true)
	pause(false)
	if title, _ := s.until(time.Hour); title != "" {
		t.Errorf("a message about a pause of a second: %s", title)
	}
	if s.due(s.now); len(s.groups) > 0 {
		t.Errorf("%d groups are kept after an hour", len(s.groups))
	}
}

// Nodes that are deleted much later have a message of their own, also while an older one is not resolved.
func TestLaterNodesBeginAGroup(t *testing.T) {
	s := newSheet(t)
	s.is("n0", started|failed, false)
	s.want("Cleanup of node n0: Failed [1/1 Open]", 30*time.Second)
	s.now = zero.Add(10 * time.Minute)
	s.is("n1", started, false)
	s.want("Cleanup of node n1: Started [2/1 Ongoing]", 10*time.Minute+30*time.Second)
}

// What was reported is not reported again when a leader reads the records of ended cleanups.
func TestRecoveredRecords(t *testing.T) {
	s := newSheet(t)
	s.is("n0", started|succeeded, true)
	s.want("Cleanup of node n0: Succeeded [1/1 Final]", 30*time.Second)
	text, _, err := s.encode(s.now, maxStored)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		uid   types.UID
		ended time.Duration
		want  string
	}{
		"reported":                        {"uid-of-n0", 0, ""},
		"ended before the write":          {"uid-of-n1", -recheck, ""},
		"ended while no agent was leader": {"uid-of-n1", time.Hour, "Cleanup of node n1: Succeeded [2/1 Final]"},
	} {
		t.Run(name, func(t *testing.T) {
			next := newSheet(t)
			next.newKey = func() string { return "ops-2" }
			next.now = zero.Add(2 * time.Hour)
			if err := next.restore(text, next.now); err != nil {
				t.Fatal(err)
			}
			next.observe(observation{uid: test.uid, node: "n1", kinds: started | succeeded, ended: true, endedAt: zero.Add(test.ended)}, next.now, true)
			if title, _ := next.until(time.Hour); title != test.want {
				t.Errorf("the message is %q, want %q", title, test.want)
			}
		})
	}
}

// A leader that ended before it recorded a delivery sends the same message with the same ID.
func TestNextLeaderSendsTheSameMessage(t *testing.T) {
	s := newSheet(t)
	s.is("n0", started|failed, false)
	text, _, err := s.encode(s.now, maxStored)
	if err != nil {
		t.Fatal(err)
	}
	first := s.compose(s.groups[0])
	next := newSheet(t)
	if err := next.restore(text, s.now); err != nil {
		t.Fatal(err)
	}
	next.observe(observation{uid: "uid-of-n0", node: "n0", kinds: started | failed, deletedBy: "ann", message: "reason of n0"}, s.now, true)
	if again := next.compose(next.groups[0]); again.ID != first.ID || again.Text != first.Text || len(first.ID) > 100 {
		t.Errorf("the message is %s\n%s\nwant %s\n%s", again.ID, again.Text, first.ID, first.Text)
	}
}

// With another selector or other kinds, old cleanups are no news.
func TestChangedConfigTellsNothingOld(t *testing.T) {
	s := newSheet(t, cleanup.NotifyFailed)
	text, _, err := s.encode(zero, maxStored)
	if err != nil {
		t.Fatal(err)
	}
	next := newSheet(t)
	next.now = zero.Add(24 * time.Hour)
	if err := next.restore(text, next.now); err != nil {
		t.Fatal(err)
	}
	next.observe(observation{uid: "u", node: "n0", kinds: started | succeeded, ended: true, endedAt: zero.Add(time.Hour)}, next.now, true)
	if title, _ := next.until(time.Hour); title != "" {
		t.Errorf("the message is %q", title)
	}
}

func TestFailuresBackOff(t *testing.T) {
	s := newSheet(t)
	s.is("n0", started|failed, false)
	g := s.groups[0]
	var delays []time.Duration
	for range 10 {
		delays = append(delays, s.fail(g, zero, 0, false, 0))
	}
	if delays[0] != firstBackoff || delays[1] != 2*firstBackoff || delays[9] != lastBackoff {
		t.Errorf("the delays are %s", delays)
	}
	if got := s.fail(g, zero, time.Hour, false, 1); got != time.Hour {
		t.Errorf("with a Retry-After of an hour: %s", got)
	}
	// A permanent error is tried again when the content changes, and not before.
	s = newSheet(t)
	s.is("n0", started|failed, false)
	s.now = zero.Add(30 * time.Second)
	s.fail(s.groups[0], s.now, 0, true, 0)
	if title, _ := s.until(time.Hour); title != "" {
		t.Errorf("a permanent error is retried: %s", title)
	}
	s.is("n0", started|succeeded, true)
	s.want("Cleanup of node n0: Succeeded [1/1 Final]", time.Hour+30*time.Second)
}

// The state of a message is the newest when it is finally sent.
func TestLateMessageHasTheNewestState(t *testing.T) {
	s := newSheet(t)
	s.is("n0", started, false)
	s.now = zero.Add(30 * time.Second)
	g, _ := s.due(s.now)
	m := s.compose(g)
	s.is("n0", started|failed, false) // While the message is being sent.
	s.delivered(m, "", s.now)
	s.want("Cleanup of node n0: Failed [1/2 Open]", 60*time.Second)
}

func TestBounds(t *testing.T) {
	s := newSheet(t)
	for i := range maxNodes + 1 {
		s.is(fmt.Sprintf("n%04d", i), started|failed, false)
	}
	if len(s.groups) != 2 || len(s.groups[0].Members) != maxNodes {
		t.Errorf("there are %d groups", len(s.groups))
	}
	for i := range maxOpen {
		s.now = s.now.Add(time.Hour)
		s.is(fmt.Sprint("m", i), started|failed, false)
	}
	if last := s.groups[len(s.groups)-1]; len(s.groups) != maxOpen || len(s.dropped) != 0 || len(last.Members) != 3 {
		t.Errorf("%d groups, %d nodes in the newest, dropped: %q", len(s.groups), len(last.Members), s.dropped)
	}
	text, omitted, err := s.encode(s.now, 1000)
	if len(text) > 1000 || err != nil || len(s.groups) != maxOpen || omitted == 0 || omitted == maxOpen {
		t.Errorf("%d bytes, %d groups, %d not stored, %v", len(text), len(s.groups), omitted, err)
	}
	var m cleanup.Notification
	s = newSheet(t)
	for i := range maxNodes {
		s.observe(observation{uid: types.UID(fmt.Sprint(i)), node: strings.Repeat("x", 253), kinds: alerting &^ paused, message: strings.Repeat("y", cleanup.MaxNotificationMessage)}, s.now, false)
	}
	if m = s.compose(s.groups[0]).Notification; len(m.Text) > 32<<10 || m.Events[0].Nodes != maxNodes || m.Events[0].More() != maxNodes-cleanup.MaxNotificationNames {
		t.Errorf("a text of %d bytes", len(m.Text))
	}
}

func TestSelectedNodes(t *testing.T) {
	s := newSheet(t)
	selector, err := labels.Parse("pool=batch")
	if err != nil {
		t.Fatal(err)
	}
	s.settings.NodeSelector = selector
	selected := Selected([]config.Notification{s.settings, {Name: "all", NodeSelector: labels.Everything()}}, map[string]string{"pool": "batch"})
	if len(selected) != 1 || !strings.HasPrefix(selected[0], "ops/") {
		t.Errorf("selected by %q", selected)
	}
	for name, test := range map[string]struct {
		observation
		want bool
	}{
		"a selected run":       {observation{uid: "a", selected: selected}, true},
		"another run":          {observation{uid: "b", selected: []string{strings.Replace(selected[0], "ops", "other", 1)}}, false},
		"an earlier selector":  {observation{uid: "e", selected: Selected([]config.Notification{{Name: "ops", NodeSelector: labels.SelectorFromSet(labels.Set{"pool": "web"})}}, map[string]string{"pool": "web"})}, false},
		"a selected node":      {observation{uid: "c", labels: labels.Set{"pool": "batch"}}, true},
		"another node":         {observation{uid: "d", labels: labels.Set{}}, false},
		"a pause of all nodes": {observation{uid: pauseUID}, true},
	} {
		if got := test.concerns(s.settings); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestDeletedByOneUser(t *testing.T) {
	s := newSheet(t)
	by := func(node, user string) {
		s.observe(observation{uid: types.UID(node), node: node, kinds: started, deletedBy: user}, s.now, false)
	}
	by("n0", "ann")
	by("n1", "ann")
	if m := s.compose(s.groups[0]); m.DeletedBy != "ann" {
		t.Errorf("deleted by %q", m.DeletedBy)
	}
	by("n2", "bob")
	by("n3", "ann")
	if m := s.compose(s.groups[0]); m.DeletedBy != "" {
		t.Errorf("deleted by %q", m.DeletedBy)
	}
}

func TestAbsentRecordsEnd(t *testing.T) {
	s := newSheet(t)
	s.is("n0", started|failed, false)
	s.want("Cleanup of node n0: Failed [1/1 Open]", 30*time.Second)
	s.endAbsent(func(types.UID) bool { return false })
	s.want("Cleanup of node n0: Failed [1/2 Final]", 60*time.Second)
}
