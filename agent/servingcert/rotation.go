package servingcert

import "time"

// A rotation has three steps, each a while after the one before: the next CA is made
// and trusted; it takes over; the old one is trusted no more. No step leaves the API
// server with a certificate that it does not trust, whichever agent it asks.

const madeNext = "the next CA is made"

// step returns the chain after the next step of a rotation, and what the
// step was; the chain itself where none is. With asked, a rotation begins before
// its time. The next CA takes over only when it is published.
func (c *chain) step(now time.Time, timing Timing, asked, published bool) (*chain, string, error) {
	settled := !now.Before(c.changedAt.Add(timing.Settle))
	after := *c
	after.changedAt = now
	switch {
	case c.next != nil && settled && published:
		after.previous, after.current, after.next = c.current.certificate, c.next, nil
		return &after, "the next CA has taken over", nil
	case c.next == nil && c.previous != nil && settled:
		after.previous = nil
		return &after, "the previous CA is trusted no more", nil
	case c.next == nil && c.previous == nil && (asked || due(c.current.certificate, now)):
		next, err := makeCA(now, timing.CALife)
		if err != nil {
			return nil, "", err
		}
		after.next = next
		return &after, madeNext, nil
	}
	return c, "", nil
}
