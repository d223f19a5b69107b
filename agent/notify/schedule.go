package notify

import (
	"cmp"
	"time"
)

const (
	firstBackoff = 5 * time.Second
	lastBackoff  = 5 * time.Minute
)

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
	if send != nil && b.unread && now.Before(b.readBy) {
		return nil, b.readBy.Sub(now)
	}
	if send != nil || next.IsZero() {
		return send, 0
	}
	return nil, max(next.Sub(now), time.Millisecond)
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
