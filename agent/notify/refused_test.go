package notify

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// A message that the service always refuses does not delay those about other groups for long.
func TestRefusedMessageDoesNotBlockOthers(t *testing.T) {
	for _, permanent := range []bool{true, false} {
		t.Run(fmt.Sprintf("permanent %t", permanent), func(t *testing.T) {
			s := newSheet(t, cleanup.NotifyFailed)
			s.settings.RepeatInterval = 24 * time.Hour
			const others = 9
			s.is("refused", started|failed, false)
			tries, delivered := 0, map[string]bool{}
			for i, end := 0, zero.Add(12*time.Hour); s.now.Before(end); {
				if i < others && s.now.Sub(zero) >= time.Duration(i+1)*6*time.Minute {
					s.is(fmt.Sprint("n", i), started|failed, false) // In a group of its own.
					i++
				}
				g, wait := s.due(s.now)
				switch {
				case g == nil && (wait == 0 || wait > time.Minute):
					s.now = s.now.Add(time.Minute)
				case g == nil:
					s.now = s.now.Add(wait)
				case g.Members["uid-of-refused"] != nil:
					tries++
					s.fail(g, s.now, 0, permanent, 0)
				default:
					if waited := s.now.Sub(g.Began); waited > s.settings.GroupWait+lastBackoff {
						t.Errorf("%s was delayed by %s", g.Key, waited)
					}
					delivered[g.Key] = true
					s.delivered(s.compose(g), "", s.now)
				}
			}
			if len(delivered) != others {
				t.Errorf("%d of %d other groups were reported", len(delivered), others)
			}
			if limit := int(12*time.Hour/lastBackoff) + 10; permanent && tries != 1 || tries == 0 || tries > limit {
				t.Errorf("the refused message was tried %d times", tries)
			}
		})
	}
}

// While the receiver is down, all groups together are tried no more often than one, and each has its turn.
func TestReceiverThatIsDownHasOneBackoff(t *testing.T) {
	s := newSheet(t, cleanup.NotifyFailed)
	for i := range 9 {
		s.is(fmt.Sprint("n", i), started|failed, false)
		s.now = s.now.Add(6 * time.Minute)
	}
	tries, tried := 0, map[string]int{}
	for end := s.now.Add(12 * time.Hour); s.now.Before(end); {
		g, wait := s.due(s.now)
		if g == nil {
			s.now = s.now.Add(wait)
			continue
		}
		tries++
		tried[g.Key]++
		s.fail(g, s.now, 0, false, 0)
	}
	if limit := int(12*time.Hour/lastBackoff) + 10; tries > limit || len(tried) != 9 {
		t.Errorf("%d tries, want at most %d: %v", tries, limit, tried)
	}
	for key, count := range tried {
		if count < tries/9-2 {
			t.Errorf("%s was tried %d times of %d", key, count, tries)
		}
	}
	s.retry()
	for range 9 {
		if title, _ := s.until(0); title == "" {
			t.Error("a group waits although there is a cause to retry")
		}
	}
}
