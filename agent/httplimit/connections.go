// Package httplimit bounds what callers can make an HTTP server hold: connections,
// and the bodies of requests.
package httplimit

import (
	"net"
	"net/http"
	"slices"
	"sync"
)

// Connections bounds how many connections are open. One more closes another: the oldest
// over which no request came yet, or else the one that is idle for longest. So
// connections that are opened and left do not keep out a caller who has to ask.
type Connections struct {
	max int

	mutex sync.Mutex
	// silent have not asked anything yet, idle are between two requests; oldest first.
	silent, idle []net.Conn
	open         int
}

// NewConnections allows as many connections.
func NewConnections(max int) *Connections { return &Connections{max: max} }

// Track is for the ConnState of one http.Server or more.
func (c *Connections) Track(connection net.Conn, state http.ConnState) {
	if victim := c.track(connection, state); victim != nil {
		// What the server is doing with it fails, and it tells us by StateClosed.
		_ = raw(victim).Close()
	}
}

// Open returns how many connections are open.
func (c *Connections) Open() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.open
}

func (c *Connections) track(connection net.Conn, state http.ConnState) (victim net.Conn) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch state {
	case http.StateNew:
		c.open++
		c.silent = append(c.silent, connection)
	case http.StateActive:
		c.forget(connection)
	case http.StateIdle:
		c.forget(connection)
		c.idle = append(c.idle, connection)
	case http.StateClosed, http.StateHijacked:
		c.forget(connection)
		c.open--
	}
	if state != http.StateNew || c.open <= c.max {
		return nil
	}
	switch {
	case len(c.silent) > 1:
		victim = c.silent[0]
	case len(c.idle) > 0:
		victim = c.idle[0]
	default:
		victim = connection // Every other one is at work.
	}
	c.forget(victim)
	return victim
}

func (c *Connections) forget(connection net.Conn) {
	same := func(other net.Conn) bool { return other == connection }
	c.silent, c.idle = slices.DeleteFunc(c.silent, same), slices.DeleteFunc(c.idle, same)
}

// raw returns the connection below TLS: closing the upper one says goodbye to a peer
// who may not listen, and waits for that.
func raw(connection net.Conn) net.Conn {
	if upper, is := connection.(interface{ NetConn() net.Conn }); is {
		return upper.NetConn()
	}
	return connection
}
