package servingcert

import "time"

// A rotation has three steps, with Timing.Settle between them. First the next CA is made and published.
// Then it signs. Then the previous CA is removed from the bundle. At each step, the API server trusts
// the certificates of all agents.

const madeNext = "the next CA is made"

// step returns the chain after the next step of a rotation and the name of the step. If no step is needed,
// it returns the chain unchanged and no name. If a user requested a rotation, it begins at once. The
// next CA signs only after it is published.
func (c *chain) step(now time.Time, timing Timing, requested, published bool) (*chain, string, error) {
	settled := !now.Before(c.changedAt.Add(timing.Settle))
	after := *c
	after.changedAt = now
	switch {
	case c.next != nil && settled && published:
		after.previous, after.current, after.next = c.current.certificate, c.next, nil
		return &after, "the next CA has taken over", nil
	case c.next == nil && c.previous != nil && settled:
		after.previous = nil
		return &after, "the previous CA is no longer trusted", nil
	case c.next == nil && c.previous == nil && (requested || due(c.current.certificate, now)):
		next, err := makeCA(now, timing.CALife)
		if err != nil {
			return nil, "", err
		}
		after.next = next
		return &after, madeNext, nil
	}
	return c, "", nil
}
