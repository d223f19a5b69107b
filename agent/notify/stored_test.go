package notify

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// failures returns observations of failed Nodes, with names and messages as of a cloud.
func failures(count int) []observation {
	random := rand.NewChaCha8([32]byte{})
	var all []observation
	for i := range count {
		message := make([]byte, 120)
		_, _ = random.Read(message)
		all = append(all, observation{
			uid: uuid.NewUUID(), node: fmt.Sprintf("ip-10-0-%03d-%03d.eu-west-1.compute.internal", i/256, i%256),
			kinds: started | failed, deletedBy: "ann", message: fmt.Sprintf("%x", message),
		})
	}
	return all
}

// Groups of 1000 Nodes are reported once, also by the next leader, with the most notifications of a config.
func TestLargeGroupSurvivesLeaders(t *testing.T) {
	for _, notifications := range []int{1, 5, 20} {
		t.Run(fmt.Sprint(notifications, " notifications"), func(t *testing.T) {
			nodes := failures(maxNodes)
			s := newSheet(t, cleanup.NotifyFailed)
			all := func(recovered bool) {
				for _, o := range nodes {
					s.observe(o, s.now, recovered)
				}
			}
			all(true)
			store := func() []byte {
				t.Helper()
				data, omitted, err := s.encode(s.now, maxStored/notifications)
				if err != nil || omitted > 0 || len(data) > maxStored/notifications {
					t.Fatalf("%d bytes, %d groups are not stored, %v", len(data), omitted, err)
				}
				return data
			}
			store()
			s.want("Cleanup of 1000 nodes: 1000 Failed [1/1 Open]", 30*time.Second)
			all(false) // The records are saved again.
			data := store()
			if title, _ := s.until(time.Hour); title != "" {
				t.Errorf("the message is repeated: %s", title)
			}
			before := s.compose(s.groups[0])
			next := newSheet(t, cleanup.NotifyFailed)
			next.now = s.now
			if err := next.restore(data, next.now); err != nil {
				t.Fatal(err)
			}
			next.compose(next.groups[0]) // Before the records are read.
			s = next
			all(true)
			if after := s.compose(s.groups[0]); after.Key != before.Key || after.Text != before.Text {
				t.Errorf("the next leader has %s\n%s\nwant %s\n%s", after.Key, after.Text, before.Key, before.Text)
			}
			if title, _ := s.until(time.Hour); title != "" {
				t.Errorf("the next leader repeats the message: %s", title)
			}
		})
	}
}

// Groups that cannot be stored are reported all the same, and once by this leader.
func TestGroupThatIsNotStoredIsReported(t *testing.T) {
	s := newSheet(t, cleanup.NotifyFailed)
	nodes := failures(maxNodes)
	for range 3 {
		for _, o := range nodes {
			s.observe(o, s.now, false)
		}
		if _, omitted, err := s.encode(s.now, 1000); err != nil || omitted != 1 {
			t.Fatal(omitted, err)
		}
		if s.now == zero {
			s.want("Cleanup of 1000 nodes: 1000 Failed [1/1 Open]", 30*time.Second)
		} else if title, _ := s.until(time.Hour); title != "" {
			t.Errorf("the message is repeated: %s", title)
		}
	}
	if len(s.dropped) > 0 {
		t.Errorf("dropped: %q", s.dropped)
	}
}

// The leader before had a clock that was a day ahead.
func TestTimesOfAClockAhead(t *testing.T) {
	ahead := newSheet(t, cleanup.NotifyFailed, cleanup.NotifyBypassed)
	ahead.now = zero.Add(24 * time.Hour)
	ahead.is("n0", started|failed, false)
	ahead.until(time.Minute)
	data, _, err := ahead.encode(ahead.now, maxStored)
	if err != nil {
		t.Fatal(err)
	}
	s := newSheet(t, cleanup.NotifyFailed, cleanup.NotifyBypassed)
	if err := s.restore(data, s.now); err != nil {
		t.Fatal(err)
	}
	s.observe(observation{uid: "uid-of-n1", node: "n1", kinds: bypassed, ended: true, endedAt: s.now}, s.now, true) // While there was no leader.
	s.want("Cleanup of 2 nodes: 1 Failed, 1 Bypassed [1/2 Open]", 30*time.Second)
}

// Each read of all run records finds those of ended cleanups that were reported.
func TestReadRepeatsNothing(t *testing.T) {
	s := newSheet(t, cleanup.NotifyBypassed)
	s.is("n0", started|bypassed, true)
	s.want("Cleanup of node n0: Bypassed [1/1 Final]", 30*time.Second)
	if _, _, err := s.encode(s.now, maxStored); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		s.now = s.now.Add(time.Hour)
		s.due(s.now) // For another reason.
		s.readBegins(s.now)
		s.observe(observation{uid: "uid-of-n0", node: "n0", kinds: started | bypassed, ended: true, endedAt: zero, deletedBy: "ann"}, s.now, true)
		s.readEnds(s.now)
		if title, _ := s.until(time.Minute); title != "" {
			t.Fatalf("after a read: %s", title)
		}
	}
}

// Until the run records were read, writes of the store do not make their ends old.
func TestUnreadEndsStayNew(t *testing.T) {
	s := newSheet(t, cleanup.NotifyBypassed)
	s.unread, s.seen = true, zero
	s.now = zero.Add(time.Hour)
	if _, _, err := s.encode(s.now, maxStored); err != nil {
		t.Fatal(err)
	}
	s.readBegins(s.now)
	s.observe(observation{uid: "u", node: "n0", kinds: started | bypassed, ended: true, endedAt: zero.Add(time.Minute)}, s.now, true)
	s.readEnds(s.now)
	s.want("Cleanup of node n0: Bypassed [1/1 Final]", time.Hour+30*time.Second)
}

// Another service than the one that has the message must not replace an entry of its own by that reference. It gets
// what needs attention.
func TestAnotherReceiverGetsNoReference(t *testing.T) {
	s := newSheet(t, cleanup.NotifyFailed)
	s.observe(failures(1)[0], s.now, true)
	s.want("Cleanup of node ip-10-0-000-000.eu-west-1.compute.internal: Failed [1/1 Open]", 30*time.Second)
	s.groups[0].Reference = "incident-4711"
	data, _, err := s.encode(s.now, maxStored)
	if err != nil {
		t.Fatal(err)
	}
	for options, changed := range map[string]bool{"": false, `{"url":"https://other.example.com"}`: true} {
		next := newSheet(t, cleanup.NotifyFailed)
		next.now = s.now
		next.settings.Options = []byte(options)
		if err := next.restore(data, next.now); err != nil {
			t.Fatal(err)
		}
		if reference := next.groups[0].Reference; (reference == "") != changed {
			t.Errorf("with the options %q, the reference is %q", options, reference)
		}
		next.observe(observation{uid: s.onlyUID(), node: "n", kinds: started | failed}, next.now, true)
		if title, _ := next.until(time.Hour); (title != "") != changed {
			t.Errorf("with the options %q, the message is %q", options, title)
		}
	}
}

func (s *sheet) onlyUID() types.UID {
	for uid := range s.groups[0].Members {
		return uid
	}
	return ""
}
