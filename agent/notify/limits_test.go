package notify

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// A rehearsal and the real cleanup of the same Nodes are in different groups.
func TestDryRunHasItsOwnGroup(t *testing.T) {
	s := newSheet(t, cleanup.NotifyFailed)
	is := func(node string, kinds kinds, dryRun bool) {
		s.Helper()
		o := observation{node: node, kinds: kinds, dryRun: dryRun, message: "reason"}
		o.uid = "uid-of-n"
		if node != "n" {
			o.uid = "uid-of-other"
		}
		s.observe(o, s.now, false)
	}
	is("n", started|failed, true)
	s.want("Dry run for node n: Failed [1/1 Open]", 30*time.Second)
	is("n", started, false) // dryRun is switched off.
	is("n", started|failed, false)
	is("other", started|failed, false)
	got := map[string]bool{}
	for range 2 {
		title, _ := s.until(time.Hour)
		got[title] = true
	}
	if !got["Dry run for node n: Failed [1/2 Final]"] || !got["Cleanup of 2 nodes: 2 Failed [2/1 Open]"] {
		t.Errorf("the messages are %v", got)
	}
}

// More stuck Nodes than groups may be open: the last ones share a group, and no message is repeated.
func TestMoreStuckNodesThanGroups(t *testing.T) {
	s := newSheet(t, cleanup.NotifyFailed)
	s.settings.RepeatInterval = 1000 * time.Hour
	for i := range maxOpen + 2 {
		s.is(fmt.Sprint("n", i), started|failed, false)
		if title, _ := s.until(6 * time.Minute); title == "" {
			t.Errorf("n%d is not reported", i)
		}
		s.until(6 * time.Minute)
	}
	for range 24 {
		for i := range maxOpen + 2 {
			s.is(fmt.Sprint("n", i), started|failed, false)
		}
		if title, _ := s.until(time.Hour); title != "" {
			t.Fatalf("repeated: %s", title)
		}
	}
	if len(s.dropped) > 0 || len(s.groups) != maxOpen {
		t.Errorf("%d groups, dropped: %q", len(s.groups), s.dropped)
	}
}

// The name of a user cannot add a line to a message.
func TestUserNameIsOneLine(t *testing.T) {
	run := &api.Run{Node: "n0", NodeUID: "u0", PlanHash: "p", State: api.Failed, RequestedBy: "ann\nNext: run evil" + strings.Repeat("x", 1000)}
	if by := ofRun(run).deletedBy; strings.Contains(by, "\n") || len(by) > cleanup.MaxNotificationMessage || !strings.HasPrefix(by, "ann") {
		t.Errorf("deleted by %q", by)
	}
}

// The cause in a message is that of the first Node, or there is none: the text names that Node beside it.
func TestCauseIsThatOfTheNamedNode(t *testing.T) {
	s := newSheet(t, cleanup.NotifyDeadline)
	s.observe(observation{uid: "a", node: "a", kinds: started | late}, s.now, false)
	s.observe(observation{uid: "b", node: "b", kinds: started | late | failed, message: "the disk of b is full"}, s.now, false)
	for _, event := range s.compose(s.groups[0]).Events {
		if want := map[string]string{"a": "", "b": "the disk of b is full"}[event.Names[0]]; event.Kind != cleanup.NotifyStarted && event.Message != want {
			t.Errorf("%s: the cause for %s is %q", event.Kind, event.Names[0], event.Message)
		}
	}
	if text := s.compose(s.groups[0]).Text; strings.Contains(text, "(a:") {
		t.Errorf("the text is %s", text)
	}
}

// A Node that an unknown user deleted makes the user of the group unknown.
func TestUserOfAllNodes(t *testing.T) {
	for _, test := range []struct {
		users []string
		want  string
	}{
		{[]string{"ann", "ann"}, "ann"},
		{[]string{"ann", "bob"}, ""},
		{[]string{"ann", ""}, ""},
		{[]string{"", "ann"}, ""},
		{[]string{"", ""}, ""},
	} {
		s := newSheet(t)
		for i, user := range test.users {
			s.observe(observation{uid: types.UID(fmt.Sprint(i)), node: fmt.Sprint(i), kinds: started, deletedBy: user}, s.now, false)
		}
		if by := s.compose(s.groups[0]).DeletedBy; by != test.want {
			t.Errorf("nodes deleted by %q: the message says %q", test.users, by)
		}
	}
}

// A pause does not count as one of the groups of Nodes: none of them is dropped for it.
func TestPauseDropsNoGroup(t *testing.T) {
	s := newSheet(t, cleanup.NotifyFailed, cleanup.NotifyPaused)
	s.settings.RepeatInterval = 1000 * time.Hour
	for i := range maxOpen {
		s.is(fmt.Sprint("n", i), started|failed, false)
		s.until(12 * time.Minute)
		s.until(6 * time.Minute)
	}
	s.observe(observation{uid: pauseUID, kinds: paused, message: "maintenance"}, s.now, false)
	if title, _ := s.until(time.Minute); title != "Cleanups are paused [11/ Open]" {
		t.Errorf("the message is %q", title)
	}
	if len(s.dropped) > 0 || len(s.groups) != maxOpen+1 {
		t.Errorf("%d groups, dropped: %q", len(s.groups), s.dropped)
	}
}
