package leader

import (
	"crypto/tls"
	"net/http"
)

// Transport returns a transport on which nothing is changed by an agent that lost the Lease.
func (l *Election) Transport(next http.RoundTripper) http.RoundTripper {
	return fenced{next, l.counted}
}

// fenced is a transport on which nothing is changed once this agent may no longer act as
// the leader: a step is cancelled then, and what it is about to send must not go out
// before it hears of that. Reads harm nobody.
type fenced struct {
	next  http.RoundTripper
	fence func() error
}

// RoundTrip implements http.RoundTripper.
func (f fenced) RoundTrip(request *http.Request) (*http.Response, error) {
	switch request.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions:
		return f.next.RoundTrip(request)
	}
	if err := f.fence(); err != nil {
		if request.Body != nil {
			request.Body.Close()
		}
		return nil, notLeading(err)
	}
	return f.next.RoundTrip(request)
}

// WithTLS returns the same fence around a transport with a TLS config of its own.
func (f fenced) WithTLS(config *tls.Config) http.RoundTripper {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	return fenced{transport, f.fence}
}

// WrappedRoundTripper lets client-go see what is behind the fence.
func (f fenced) WrappedRoundTripper() http.RoundTripper { return f.next }

// CloseIdleConnections is what http.Client looks for.
func (f fenced) CloseIdleConnections() {
	if closer, can := f.next.(interface{ CloseIdleConnections() }); can {
		closer.CloseIdleConnections()
	}
}
