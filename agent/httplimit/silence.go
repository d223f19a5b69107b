package httplimit

import (
	"net"
	"sync"
	"time"
)

// AllowSilence returns a listener whose connections may be silent for as long before their
// first request; the server's ReadHeaderTimeout then begins with the first byte, as it does
// between two requests. net/http begins it with the connection: what an API server has
// opened in advance would be closed, maybe while it asks at last. Secure is for a listener
// that TLS is put upon; what arrives in one packet with the end of a TLS handshake is not seen
// as a first byte, and has the longer time.
func AllowSilence(listener net.Listener, howLong time.Duration, secure bool) net.Listener {
	return &silenceListener{listener, howLong, secure}
}

type silenceListener struct {
	net.Listener
	howLong time.Duration
	secure  bool
}

func (l *silenceListener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	accepted := &silent{Conn: connection, howLong: l.howLong}
	if l.secure {
		accepted.stage = shakingHands
	}
	return accepted, nil
}

// The stages of a connection.
const (
	// quiet is before the server waits for the first request.
	quiet = iota
	// shakingHands has a limit of its own, which the server takes off at the end.
	shakingHands
	// awaiting is until the first byte of the first request.
	awaiting
	// spoken is from then on: the server's limits hold.
	spoken
)

type silent struct {
	net.Conn
	howLong time.Duration

	mutex sync.Mutex
	stage int
	// header is how long the server lets the first header take.
	header time.Duration
}

// SetReadDeadline is called by the server alone.
func (s *silent) SetReadDeadline(end time.Time) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch {
	case s.stage == shakingHands && end.IsZero():
		s.stage = quiet
	case s.stage == quiet && !end.IsZero():
		s.stage, s.header = awaiting, time.Until(end)
		end = time.Now().Add(s.howLong)
	case s.stage == awaiting:
		s.stage = spoken
	}
	return s.Conn.SetReadDeadline(end)
}

func (s *silent) Read(into []byte) (int, error) {
	n, err := s.Conn.Read(into)
	if n == 0 {
		return n, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.stage == awaiting {
		s.stage = spoken
		if limit := s.Conn.SetReadDeadline(time.Now().Add(s.header)); err == nil {
			err = limit
		}
	}
	return n, err
}
