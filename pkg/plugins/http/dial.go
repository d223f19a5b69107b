package http

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// connectTimeout is less than the time that a health check has, so that the error names the
// destination.
const connectTimeout = 8 * time.Second

// errNotSent is the error of every write after the connection is established.
var errNotSent = errors.New("the health check sends no request")

// dial connects to the destination of the request as the plugin would, through the same proxy
// and with the same CAs, and sends nothing. If a proxy forwards plain HTTP, it only reaches
// the proxy.
func (p *plugin) dial(ctx context.Context, client *http.Client, request *http.Request) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var connected atomic.Bool
	transport := plainTransport(client.Transport).Clone()
	defer transport.CloseIdleConnections()
	dial := transport.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	transport.DialTLSContext = nil
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return muted{conn, &connected}, nil
	}
	// GotConn is called after the handshakes and before the request is written.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	response, err := transport.RoundTrip(request.WithContext(ctx))
	if err == nil {
		// Unreachable as long as nothing was written; to be safe, the connection is closed.
		return errors.Join(errors.New("an answer came without a request"), response.Body.Close())
	}
	if connected.Load() {
		return nil
	}
	return fmt.Errorf("connecting to %s: %w", p.where(), p.conceal(err))
}

// muted refuses writes once mute is set.
type muted struct {
	net.Conn
	mute *atomic.Bool
}

func (m muted) Write(data []byte) (int, error) {
	if m.mute.Load() {
		return 0, errNotSent
	}
	return m.Conn.Write(data)
}

// plainTransport returns the transport inside of those that wrap it, such as the agent's,
// which sends only while the agent leads. A connection without a request has no effect.
func plainTransport(given http.RoundTripper) *http.Transport {
	for {
		switch transport := given.(type) {
		case *http.Transport:
			return transport
		case interface{ WrappedRoundTripper() http.RoundTripper }:
			given = transport.WrappedRoundTripper()
		default:
			return http.DefaultTransport.(*http.Transport)
		}
	}
}
