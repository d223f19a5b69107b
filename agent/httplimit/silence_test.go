package httplimit

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// A header has its time from its first byte on, and a connection may be silent before that
// for longer.
func TestAHeaderHasItsTimeFromTheFirstByteOn(t *testing.T) {
	const header, silence = 300 * time.Millisecond, 3 * time.Second
	for _, secure := range []bool{false, true} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		server.Listener = AllowSilence(server.Listener, silence, secure)
		server.Config.ReadHeaderTimeout, server.Config.IdleTimeout, server.Config.ErrorLog = header, silence, log.New(io.Discard, "", 0)
		open := func() (net.Conn, error) { return net.Dial("tcp", server.Listener.Addr().String()) }
		if secure {
			server.StartTLS()
			open = func() (net.Conn, error) {
				// With TLS 1.2 nothing is sent before the server has seen the end of the handshake.
				return tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
			}
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		for name, test := range map[string]struct {
			say    string
			within time.Duration
		}{
			"silent":                     {"", silence},
			"half a header":              {"GET / HT", header},
			"one request, then no other": {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", silence},
			"one request and a half":     {"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT", header},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				connection, err := open()
				if err != nil {
					t.Fatal(err)
				}
				defer connection.Close()
				began := time.Now()
				if _, err := io.WriteString(connection, test.say); err != nil {
					t.Fatal(err)
				}
				if err := connection.SetReadDeadline(began.Add(2 * silence)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, connection); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("it is still open")
				}
				if took := time.Since(began); took < test.within*9/10 || took > test.within+time.Second {
					t.Errorf("secure %t: it was closed after %s, not after %s", secure, took, test.within)
				}
			})
		}
	}
}
