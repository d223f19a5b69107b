package notify

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

const (
	// maxNodes is the maximum number of Nodes in a group. Further Nodes begin another group.
	maxNodes = 1000
	// maxOpen is how many groups of Nodes are open. Further Nodes join the newest one that has room. If none
	// has, the oldest is dropped.
	maxOpen = 10
	// maxClosed is the maximum number of Nodes in closed groups, which are kept until book.seen is keepClosed
	// later: a record that is read again must not begin a new group.
	maxClosed  = 30 * maxNodes
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
	// readBy is until when messages wait for the first read of the run records: the stored groups may be out of
	// date.
	readBy time.Time
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

// join adds a Node to the newest group, or begins one.
func (b *book) join(o observation, holds kinds, now time.Time) {
	g := b.joinable(o, now)
	if g == nil {
		g = &group{Key: b.newKey(), Began: now, DryRun: o.dryRun, Members: map[types.UID]*member{}}
		b.groups = append(b.groups, g)
	}
	g.Joined = now
	g.version++
	m := &member{Node: o.node}
	g.Members[o.uid] = m
	g.update(m, o, holds)
	if o.deletedBy == "" && len(g.Members) > 1 {
		g.DeletedBy, g.Several = "", true
	}
	g.changed(b.settings.GroupWait)
	b.limit()
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

// open returns how many groups of Nodes are open.
func (b *book) open() int {
	open := 0
	for _, g := range b.groups {
		if g.holdsNodes() {
			open++
		}
	}
	return open
}

// limit drops the oldest open group of Nodes if there are too many.
func (b *book) limit() {
	if b.open() > maxOpen {
		b.drop(slices.IndexFunc(b.groups, (*group).holdsNodes), "too many groups of nodes are open")
	}
}

// drop removes a group whose message was not delivered, or is not up to date.
func (b *book) drop(at int, why string) {
	b.dropped = append(b.dropped, fmt.Sprintf("%s (%d nodes, since %s): %s", b.groups[at].Key, len(b.groups[at].Members), b.groups[at].Began.UTC().Format(time.RFC3339), why))
	b.groups = slices.Delete(b.groups, at, at+1)
}

// forget removes the groups that need no more messages.
func (b *book) forget(now time.Time) {
	if !b.unread {
		b.seen = now
	}
	closed := 0
	for _, g := range b.groups {
		if !g.Closed.IsZero() {
			closed += len(g.Members)
		}
	}
	b.groups = slices.DeleteFunc(b.groups, func(g *group) bool {
		if g.Closed.IsZero() {
			// Everything ended before the first message, such as a short pause.
			return g.Messages == 0 && g.ended() && !g.any(b.on)
		}
		old := b.seen.Sub(g.Closed) > keepClosed || closed > maxClosed
		closed -= len(g.Members)
		return old
	})
}

// unsaved reports whether the key of a group is not stored.
func (b *book) unsaved() bool {
	return slices.ContainsFunc(b.groups, func(g *group) bool { return !g.saved })
}
