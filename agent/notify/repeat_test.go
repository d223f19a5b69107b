package notify

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// recover observes an ended cleanup of a Node, as a read of its record does.
func (s *sheet) recover(node string, at time.Time) {
	s.observe(observation{uid: "uid-of-" + types.UID(node), node: node, kinds: started | bypassed, ended: true, endedAt: at, deletedBy: "ann"}, s.now, true)
}

// The first read of the records of a new leader can fail. Until it succeeds, the leader keeps the groups that were
// reported.
func TestLateReadRepeatsNothing(t *testing.T) {
	s := newSheet(t, cleanup.NotifyBypassed)
	s.is("n0", started|bypassed, true)
	s.want("Cleanup of node n0: Bypassed [1/1 Final]", 30*time.Second)
	data, _, err := s.encode(s.now, maxStored)
	if err != nil {
		t.Fatal(err)
	}
	next := newSheet(t, cleanup.NotifyBypassed)
	next.unread, next.now = true, s.now.Add(time.Hour)
	if err := next.restore(data, next.now); err != nil {
		t.Fatal(err)
	}
	if title, _ := next.until(10 * time.Second); title != "" { // The first read has failed.
		t.Fatalf("before a read: %s", title)
	}
	next.readBegins(next.now)
	next.recover("n0", zero)
	next.readEnds(next.now)
	if title, _ := next.until(time.Hour); title != "" {
		t.Errorf("the next leader repeats: %s", title)
	}
}

// A read because of too many changes can follow an hour without any.
func TestReadAfterQuietTimeRepeatsNothing(t *testing.T) {
	for _, awake := range []bool{true, false} {
		s := newSheet(t, cleanup.NotifyBypassed)
		s.is("n0", started|bypassed, true)
		s.want("Cleanup of node n0: Bypassed [1/1 Final]", 30*time.Second)
		if _, _, err := s.encode(s.now, maxStored); err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(50 * time.Minute)
		if awake { // For another reason.
			s.due(s.now)
		}
		s.unread = true
		s.due(s.now)
		s.readBegins(s.now)
		s.recover("n0", zero)
		s.readEnds(s.now)
		if title, _ := s.until(time.Hour); title != "" {
			t.Errorf("repeated: %s", title)
		}
	}
}

// With a short groupWait, many small groups end in a short time.
func TestReadRepeatsNoneOfManyGroups(t *testing.T) {
	s := newSheet(t, cleanup.NotifyBypassed)
	s.settings.GroupWait = time.Second
	const nodes = 200
	for i := range nodes {
		s.is(fmt.Sprint("n", i), started|bypassed, true)
		if title, _ := s.until(10 * time.Second); title == "" {
			t.Fatalf("n%d is not reported", i)
		}
		s.until(5 * time.Second)
	}
	s.readBegins(s.now)
	for i := range nodes {
		s.recover(fmt.Sprint("n", i), zero.Add(time.Duration(i)*6*time.Second))
	}
	s.readEnds(s.now)
	if title, _ := s.until(time.Hour); title != "" {
		t.Errorf("repeated: %s", title)
	}
}

// The stored groups of the leader before can be out of date. Until the records were read, no message says so, unless
// they cannot be read at all.
func TestMessagesWaitForTheFirstRead(t *testing.T) {
	s := newSheet(t, cleanup.NotifyBypassed, cleanup.NotifyFailed)
	s.is("n0", started|failed, false)
	data, _, err := s.encode(s.now, maxStored)
	if err != nil {
		t.Fatal(err)
	}
	restored := func() *sheet {
		next := newSheet(t, cleanup.NotifyBypassed, cleanup.NotifyFailed)
		next.unread, next.now = true, s.now.Add(time.Hour)
		next.readBy = next.now.Add(time.Minute)
		if err := next.restore(data, next.now); err != nil {
			t.Fatal(err)
		}
		return next
	}
	next := restored()
	if title, _ := next.until(59 * time.Second); title != "" {
		t.Errorf("before the read: %s", title)
	}
	next.recover("n0", next.now)
	next.readEnds(next.now)
	next.want("Cleanup of node n0: Bypassed [1/1 Final]", time.Hour+59*time.Second)
	restored().want("Cleanup of node n0: Failed [1/1 Open]", time.Hour+time.Minute)
}
