package leader

import (
	"context"
	"fmt"
	"net"
)

// Dial connects to another system that does not use HTTP, such as a mail server. An agent that lost the Lease
// neither connects nor writes.
func (l *Election) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialer{(&net.Dialer{}).DialContext, l.counted}.dial(ctx, network, address)
}

// counted is Fence, and counts the refusals.
func (l *Election) counted() error {
	err := l.Fence()
	if err != nil {
		l.refused.Add(1)
	}
	return err
}

// dialer makes connections on which nothing is written once this agent may no longer act as the leader. It cannot
// tell which writes are harmless, as fenced can by the method of a request, so it refuses all of them.
type dialer struct {
	next  func(ctx context.Context, network, address string) (net.Conn, error)
	fence func() error
}

func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := d.fence(); err != nil {
		return nil, notLeading(err)
	}
	conn, err := d.next(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return fencedConn{conn, d.fence}, nil
}

// fencedConn is a connection behind the fence. It embeds no concrete type, so nothing can write past Write, such as
// by ReadFrom.
type fencedConn struct {
	net.Conn
	fence func() error
}

// Write implements net.Conn.
func (c fencedConn) Write(data []byte) (int, error) {
	if err := c.fence(); err != nil {
		return 0, notLeading(err)
	}
	return c.Conn.Write(data)
}

func notLeading(err error) error { return fmt.Errorf("this agent is no longer the leader: %w", err) }
