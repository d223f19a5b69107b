package notify

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// group is a number of Nodes with one message, which is updated.
type group struct {
	Key     string                `json:"key"`
	Began   time.Time             `json:"began"`
	Joined  time.Time             `json:"joined"`
	Members map[types.UID]*member `json:"members"`
	// DeletedBy is the user of all members; Several: they have different ones.
	DeletedBy string `json:"deletedBy,omitempty"`
	Several   bool   `json:"several,omitempty"`
	DryRun    bool   `json:"dryRun,omitempty"`
	// Reference is the newest that the service has returned.
	Reference string `json:"reference,omitempty"`
	// Messages counts the delivered messages; Sent is when the newest was.
	Messages int       `json:"messages,omitempty"`
	Sent     time.Time `json:"sent,omitzero"`
	// Closed is when the final message was delivered, zero before that.
	Closed time.Time `json:"closed,omitzero"`

	// Current: the newest message has the content of the group. It is set when the group is stored.
	Current bool `json:"current,omitempty"`

	// version changes with the content; reported is that of the newest message.
	version, reported int
	// saved: the key is stored.
	saved bool

	// retryAt is when to try again after a failure; failures counts the consecutive ones. permanent: the
	// newest one, at failedAt, was permanent.
	retryAt, failedAt time.Time
	failures          int
	permanent         bool
}

// member is a Node in a group.
type member struct {
	Node  string `json:"node,omitempty"`
	Kinds kinds  `json:"kinds"`
	// Reported are those of Kinds that the newest message had.
	Reported kinds  `json:"reported,omitempty"`
	Ended    bool   `json:"ended,omitempty"`
	Message  string `json:"message,omitempty"`

	blockedSince time.Time
}

// end ends a member that nothing more will be observed of.
func (g *group) end(m *member) {
	if !m.Ended {
		m.Ended = true
		g.version++
	}
}

// update reports whether the content of the group has changed.
func (g *group) update(m *member, o observation, holds kinds) (changed bool) {
	if changed = m.Kinds != holds || m.Ended != o.ended; changed {
		g.version++
	}
	m.Kinds, m.Reported, m.Ended, m.blockedSince = holds, m.Reported&holds, o.ended, o.blockedSince
	m.Message, m.Node = o.message, o.node
	g.attribute(o)
	return changed
}

// changed makes a message that failed permanently due again, no sooner than other messages.
func (g *group) changed(groupWait time.Duration) {
	if g.permanent {
		g.permanent, g.retryAt = false, g.failedAt.Add(groupWait)
	}
}

// attribute records who deleted the Node.
func (g *group) attribute(o observation) {
	switch {
	case o.deletedBy == "" || g.Several || g.DeletedBy == o.deletedBy:
	case g.DeletedBy == "" && len(g.Members) == 1:
		g.DeletedBy = o.deletedBy
	default:
		g.DeletedBy, g.Several = "", true
	}
}

// refreshBlocked adds Blocked to the members that have been blocked long enough, and returns when the next
// one will have been; zero if there is none.
func (g *group) refreshBlocked(now time.Time) (next time.Time) {
	for _, m := range g.Members {
		if m.blockedSince.IsZero() || m.Kinds&blocked != 0 {
			continue
		}
		if at := m.blockedSince.Add(BlockedAfter); !at.After(now) {
			m.Kinds |= blocked
			g.version++
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

func (g *group) ended() bool {
	for _, m := range g.Members {
		if !m.Ended {
			return false
		}
	}
	return true
}

// holdsNodes reports whether it is an open group of Nodes, and not of a pause.
func (g *group) holdsNodes() bool { return g.Closed.IsZero() && g.Members[pauseUID] == nil }

// any reports whether one of the kinds holds for a member.
func (g *group) any(of kinds) bool {
	for _, m := range g.Members {
		if m.Kinds&of != 0 {
			return true
		}
	}
	return false
}

// open reports whether an operator is needed.
func (g *group) open(on kinds) bool {
	for _, m := range g.Members {
		if !m.Ended && m.Kinds&on&lasting != 0 {
			return true
		}
	}
	return false
}

// alerts reports whether a kind holds now that needs attention and was not reported.
func (g *group) alerts(on kinds) bool {
	for _, m := range g.Members {
		if m.Kinds&^m.Reported&on&alerting != 0 {
			return true
		}
	}
	return false
}

func (g *group) retry() { g.retryAt, g.failures, g.permanent = time.Time{}, 0, false }
