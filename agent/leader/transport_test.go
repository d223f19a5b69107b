package leader

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

type closes struct {
	io.Reader
	closed bool
}

func (c *closes) Close() error { c.closed = true; return nil }

func TestFormerLeaderWritesNothing(t *testing.T) {
	var arrived atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) }))
	defer server.Close()
	trusts := &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	var lost error
	plain := fenced{server.Client().Transport, func() error { return lost }}
	for name, transport := range map[string]http.RoundTripper{"as it is": plain, "with other roots": plain.WithTLS(trusts)} {
		for method, changes := range map[string]bool{
			"GET": false, "HEAD": false, "OPTIONS": false, "POST": true, "PUT": true, "PATCH": true, "DELETE": true,
		} {
			for _, lost = range []error{nil, errors.New("the Lease is zoe's")} {
				arrived.Store(0)
				body := &closes{Reader: bytes.NewReader(nil)}
				request, err := http.NewRequest(method, server.URL, body)
				if err != nil {
					t.Fatal(err)
				}
				response, err := (&http.Client{Transport: transport}).Do(request)
				if err == nil {
					response.Body.Close()
				}
				refused := changes && lost != nil
				if got := arrived.Load() == 0; got != refused || (err != nil) != refused {
					t.Errorf("%s, %s, fence says %v: arrived %v, %v", name, method, lost, !got, err)
				}
				if refused && (!errors.Is(err, lost) || !strings.Contains(err.Error(), "this agent is no longer the leader: the Lease is zoe's") || !body.closed) {
					t.Errorf("%s, %s: %v, body closed %v", name, method, err, body.closed)
				}
			}
		}
	}
}
