package notify

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

const (
	// maxNodes is the maximum number of Nodes in a group. Further Nodes begin another group.
	maxNodes = 1000
	// maxOpen is how many groups are open. Further Nodes join the newest one that has room. If none has, the
	// oldest is dropped.
	maxOpen = 10
	// maxClosed is the maximum number of closed groups, which are kept for keepClosed: a record that is read
	// again must not begin a new group.
	maxClosed  = 30
	keepClosed = 15 * time.Minute
	// recheck is how old the end of a cleanup is at most, before book.seen, to be taken for new when its
	// record is read: records are written a little before or after they are observed.
	// It is shorter than keepClosed.
	recheck = 10 * time.Minute
	// minJoin is the minimum time after the newest Node in which a group accepts further Nodes. Later Nodes
	// begin a new group, and so a new message.
	minJoin = 5 * time.Minute
)

// book keeps the groups of one notification, and decides what to send when. It makes no requests and uses no
// clock: callers pass the time.
type book struct {
	settings config.Notification
	on       kinds
	// newKey returns the key of a new group.
	newKey func() string
	// groups are in the order of their begin.
	groups []*group
	// watched are the cleanups without a group that may become blocked, by UID.
	watched map[types.UID]observation
	// seen is the time before which every end of a cleanup was observed, apart from recheck. unread: the
	// run records must be read first, because observations may be missing.
	seen   time.Time
	unread bool
	// retryAt is when to try again after failures that may be about the receiver; failures counts the
	// consecutive ones.
	retryAt  time.Time
	failures int
	// causes counts the calls of retry.
	causes int
	// dropped describes the groups that did not fit.
	dropped []string
}

func newBook(settings config.Notification, newKey func() string) *book {
	return &book{settings: settings, on: setOf(settings.Events...), newKey: newKey, watched: map[types.UID]observation{}}
}

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

// observe updates the groups by what was observed. A recovered observation was read from a stored record,
// maybe not for the first time.
func (b *book) observe(o observation, now time.Time, recovered bool) {
	holds := o.at(now)
	for i, g := range b.groups {
		m := g.Members[o.uid]
		if m == nil {
			continue
		}
		if g.DryRun != o.dryRun { // The dry run is over: the real cleanup is in another group.
			g.end(m)
			continue
		}
		if g.Closed.IsZero() {
			if g.update(m, o, holds) {
				g.changed(b.settings.GroupWait)
			}
			return
		}
		if o.ended {
			return // It was reported.
		}
		delete(b.groups[i].Members, o.uid) // The cleanup has begun again.
	}
	delete(b.watched, o.uid)
	if !o.concerns(b.settings) || recovered && o.ended && o.endedAt.Before(b.seen.Add(-recheck)) {
		return
	}
	if holds&b.on != 0 {
		b.join(o, holds, now)
	} else if !o.blockedSince.IsZero() && b.on&blocked != 0 {
		b.watched[o.uid] = o
	}
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

// join adds a Node to the newest group, or begins one.
func (b *book) join(o observation, holds kinds, now time.Time) {
	g := b.joinable(o, now)
	if g == nil {
		g = &group{Key: b.newKey(), Began: now, DryRun: o.dryRun, Members: map[types.UID]*member{}}
		b.groups = append(b.groups, g)
		b.limit()
	}
	g.Joined = now
	g.version++
	m := &member{Node: o.node}
	g.Members[o.uid] = m
	g.update(m, o, holds)
	g.changed(b.settings.GroupWait)
}

// joinable returns the group that takes the Node, nil if there is none: the newest one, or any open one if no
// more may begin. A pause has a group of its own.
func (b *book) joinable(o observation, now time.Time) *group {
	if o.uid == pauseUID {
		return nil
	}
	newest, full := true, b.open() >= maxOpen
	for _, g := range slices.Backward(b.groups) {
		if g.Members[pauseUID] != nil || g.DryRun != o.dryRun {
			continue
		}
		recent := newest && now.Sub(g.Joined) <= max(minJoin, 10*b.settings.GroupWait)
		if g.Closed.IsZero() && len(g.Members) < maxNodes && (recent || full) {
			return g
		}
		newest = false
	}
	return nil
}

// open returns how many groups are open.
func (b *book) open() int {
	open := 0
	for _, g := range b.groups {
		if g.Closed.IsZero() {
			open++
		}
	}
	return open
}

// limit drops the oldest open group if there are too many.
func (b *book) limit() {
	if b.open() > maxOpen {
		at := slices.IndexFunc(b.groups, func(g *group) bool { return g.Closed.IsZero() })
		b.drop(at, "too many groups of nodes are open")
	}
}

// drop removes a group whose message was not delivered, or is not up to date.
func (b *book) drop(at int, why string) {
	b.dropped = append(b.dropped, fmt.Sprintf("%s (%d nodes, since %s): %s", b.groups[at].Key, len(b.groups[at].Members), b.groups[at].Began.UTC().Format(time.RFC3339), why))
	b.groups = slices.Delete(b.groups, at, at+1)
}

// due returns the group whose message is to be sent now, or how long to wait until there may be one; 0 is
// until something is observed. After a failed try, the other groups that are due have precedence.
func (b *book) due(now time.Time) (send *group, wait time.Duration) {
	var next time.Time
	sooner := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, o := range b.watched {
		if at := o.blockedSince.Add(BlockedAfter); at.After(now) {
			sooner(at)
		} else {
			b.observe(o, now, false)
		}
	}
	b.forget(now)
	var first time.Time
	for _, g := range b.groups {
		if !g.Closed.IsZero() {
			continue
		}
		sooner(g.refreshBlocked(now))
		at := b.dueAt(g)
		if at.IsZero() {
			continue
		}
		at = latest(at, g.retryAt)
		if sooner(latest(at, b.retryAt)); !latest(at, b.retryAt).After(now) && (send == nil || at.Before(first)) {
			send, first = g, at
		}
	}
	if send != nil || next.IsZero() {
		return send, 0
	}
	return nil, max(next.Sub(now), time.Millisecond)
}

// forget removes the groups that need no more messages.
func (b *book) forget(now time.Time) {
	closed := 0
	for _, g := range b.groups {
		if !g.Closed.IsZero() {
			closed++
		}
	}
	b.groups = slices.DeleteFunc(b.groups, func(g *group) bool {
		if g.Closed.IsZero() {
			// Everything ended before the first message, such as a short pause.
			return g.Messages == 0 && g.ended() && !g.any(b.on)
		}
		closed--
		return now.Sub(g.Closed) > keepClosed || closed >= maxClosed
	})
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

// unsaved reports whether the key of a group is not stored.
func (b *book) unsaved() bool {
	return slices.ContainsFunc(b.groups, func(g *group) bool { return !g.saved })
}

func (g *group) ended() bool {
	for _, m := range g.Members {
		if !m.Ended {
			return false
		}
	}
	return true
}

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

// dueAt returns when the next message of an open group is to be sent if nothing changes; zero for never.
func (b *book) dueAt(g *group) time.Time {
	if g.Messages == 0 {
		if !g.any(b.on) {
			return time.Time{}
		}
		return g.Began.Add(b.settings.GroupWait)
	}
	changed := g.version != g.reported
	if changed && (g.Reference != "" || g.alerts(b.on)) || g.ended() {
		return g.Sent.Add(b.settings.GroupWait)
	}
	if g.open(b.on) {
		return g.Sent.Add(b.settings.RepeatInterval)
	}
	return time.Time{}
}

// delivered records that a message was sent.
func (b *book) delivered(m message, reference string, now time.Time) {
	b.retryAt, b.failures = time.Time{}, 0
	g := m.group
	g.retry()
	g.Messages++
	g.Sent, g.reported = now, m.version
	g.Reference = cmp.Or(reference, g.Reference)
	for uid, reported := range m.reported {
		if member := g.Members[uid]; member != nil {
			member.Reported = reported & member.Kinds
		}
	}
	if m.Final && g.version == m.version {
		g.Closed = now
	}
}

const (
	firstBackoff = 5 * time.Second
	lastBackoff  = 5 * time.Minute
)

// fail delays the next try of a group. wanted is the delay that the service asks for. permanent: the same
// message fails again, so its next try is after repeatInterval, or when its content changes; the other groups
// do not wait. All groups wait after another failure, because the receiver may be down. jitter is from 0 to 1.
func (b *book) fail(g *group, now time.Time, wanted time.Duration, permanent bool, jitter float64) time.Duration {
	delay := backoff(g.failures, jitter)
	if permanent {
		delay = jittered(max(lastBackoff, b.settings.RepeatInterval), jitter)
	} else {
		b.retryAt = now.Add(max(backoff(b.failures, jitter), wanted))
		b.failures++
	}
	delay = max(delay, wanted)
	g.failures++
	g.permanent, g.failedAt, g.retryAt = permanent, now, now.Add(delay)
	return latest(g.retryAt, b.retryAt).Sub(now)
}

// backoff returns the wait after a failure that follows this number of failures.
func backoff(failures int, jitter float64) time.Duration {
	return jittered(min(firstBackoff<<min(failures, 20), lastBackoff), jitter)
}

func jittered(delay time.Duration, jitter float64) time.Duration {
	return delay + time.Duration(0.2*jitter*float64(delay))
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// retry makes the next try of each group due now: there is a cause why it can succeed.
func (b *book) retry() {
	b.causes++
	b.retryAt, b.failures = time.Time{}, 0
	for _, g := range b.groups {
		g.retry()
	}
}

func (g *group) retry() { g.retryAt, g.failures, g.permanent = time.Time{}, 0, false }
