// Package httplimit bounds what callers can make an HTTP server hold: connections,
// and the bodies of requests.
package httplimit

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// How old a connection is that gives way before others do.
const (
	// silence is longer than a caller needs who has something to ask.
	silence = time.Second
	// idleness is longer than the connections rest of a caller who asks often.
	idleness = 10 * time.Second
	// slowness is longer than a caller needs to send a body, who has one to send.
	slowness = time.Second
	// hurry is that while many send at once: an API server sends a review with its header.
	hurry = 200 * time.Millisecond
)

// readingShare of all connections may be sending a request: if more do, those give way that are
// slow, and sooner. What they have sent so far is held in memory, and they leave no place to others.
const readingShare = 4

// Connections bounds how many connections are open. One more closes another, over
// which nothing is under way: first one that was opened and left, then one whose request
// does not come to its end, then one that rests for long. Where none has done so for long
// enough, one of those of which there are most: who means harm needs many at once. So
// connections that ask nothing do not keep out a caller who does.
type Connections struct {
	max int
	now func() time.Time

	mutex sync.Mutex
	// silent have not asked anything yet, reading have not sent all of a request, idle are
	// between two; oldest first.
	silent, reading, idle []resting
	open                  int
}

type resting struct {
	net.Conn
	since time.Time
}

// NewConnections allows as many connections.
func NewConnections(max int) *Connections { return &Connections{max: max, now: time.Now} }

// Bind has a server, which has its handler, keep within the bound. A server must have
// neither ConnState nor ConnContext of its own.
func (c *Connections) Bind(server *http.Server) {
	server.ConnState, server.Handler = c.Track, c.receive(server.Handler)
	server.ConnContext = func(ctx context.Context, connection net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, bound{c, connection})
	}
}

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
		if c.open > c.max {
			victim = c.victim()
		}
		if victim == nil && c.open > c.max {
			return connection // Every other one is at work.
		}
		c.silent = append(c.silent, resting{connection, c.now()})
	case http.StateActive:
		c.forget(connection)
		c.reading = append(c.reading, resting{connection, c.now()})
		if len(c.reading) > c.max/readingShare {
			victim = c.slowest(hurry)
		}
	case http.StateIdle:
		c.forget(connection)
		c.idle = append(c.idle, resting{connection, c.now()})
	case http.StateClosed, http.StateHijacked:
		c.forget(connection)
		c.open--
	}
	return victim
}

// slowest forgets the connection whose request has been on its way for longest, and returns
// it; nil where none has for as long.
func (c *Connections) slowest(than time.Duration) net.Conn { return c.oldest(c.reading, than) }

// closeSlowest makes room for those who send a request at once.
func (c *Connections) closeSlowest() {
	c.mutex.Lock()
	found := c.slowest(slowness)
	c.mutex.Unlock()
	if found != nil {
		_ = raw(found).Close()
	}
}

// victim forgets the connection that gives way, and returns it; nil where none can.
func (c *Connections) victim() net.Conn {
	for _, choice := range []struct {
		of   []resting
		than time.Duration
	}{{c.silent, silence}, {c.reading, slowness}, {c.idle, idleness}} {
		if found := c.oldest(choice.of, choice.than); found != nil {
			return found
		}
	}
	most := slices.MaxFunc([][]resting{c.silent, c.idle, c.reading}, func(a, b []resting) int { return cmp.Compare(len(a), len(b)) })
	return c.oldest(most, 0)
}

// oldest forgets the first connection, and returns it; nil where it is not as old.
func (c *Connections) oldest(of []resting, than time.Duration) net.Conn {
	if len(of) == 0 || c.now().Sub(of[0].since) < than {
		return nil
	}
	found := of[0].Conn
	c.forget(found) // It moves what is behind it.
	return found
}

func (c *Connections) forget(connection net.Conn) {
	same := func(other resting) bool { return other.Conn == connection }
	c.silent, c.reading, c.idle = slices.DeleteFunc(c.silent, same), slices.DeleteFunc(c.reading, same), slices.DeleteFunc(c.idle, same)
}

// received is called when all of a request is there, and is being answered.
func (c *Connections) received(connection net.Conn) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.reading = slices.DeleteFunc(c.reading, func(other resting) bool { return other.Conn == connection })
}

// raw returns the connection below TLS: closing the upper one says goodbye to a peer
// who may not listen, and waits for that.
func raw(connection net.Conn) net.Conn {
	if upper, is := connection.(interface{ NetConn() net.Conn }); is {
		return upper.NetConn()
	}
	return connection
}
