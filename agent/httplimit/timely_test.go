package httplimit

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// limited serves a handler with a limit of time for bodies.
func limited(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(Timely(handler))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// say opens a connection and says something over it.
func say(t *testing.T, server *httptest.Server, text string) net.Conn {
	t.Helper()
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	if _, err := io.WriteString(connection, text); err != nil {
		t.Fatal(err)
	}
	return connection
}

const (
	// stalled are requests whose bodies do not come.
	stalledChunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	stalledLength = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
)

// Whether it is refused at once, read, or left alone: it does not stay.
func TestMissingBodyEndsTheConnection(t *testing.T) {
	for name, handler := range map[string]http.Handler{
		"refused":  Bodies(1<<20, ignore, http.NotFoundHandler()),
		"read":     http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) { _, _ = io.Copy(io.Discard, request.Body) }),
		"left":     http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		"answered": http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) { http.Error(writer, "no", http.StatusForbidden) }),
	} {
		for _, request := range []string{stalledChunks, stalledLength} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server := limited(t, handler)
				began := time.Now()
				connection := say(t, server, request)
				if err := connection.SetReadDeadline(began.Add(2 * bodyTimeout)); err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(connection)
				if err != nil {
					t.Fatalf("the connection is still there after %s: %v; it was answered %q", time.Since(began), err, answer)
				}
				if took := time.Since(began); took > bodyTimeout+2*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		}
	}
}

// The limit for the body is none for the answer.
func TestAnswerMayTakeLongerThanTheBody(t *testing.T) {
	server := limited(t, Bodies(1<<20, ignore, http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			t.Error(err)
		}
		answered := time.NewTimer(bodyTimeout + time.Second)
		defer answered.Stop()
		select {
		case <-answered.C:
			fmt.Fprint(writer, "at last")
		case <-request.Context().Done():
			fmt.Fprint(writer, context.Cause(request.Context()))
		}
	})))
	response, err := http.Post(server.URL, "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if said, err := io.ReadAll(response.Body); err != nil || string(said) != "at last" {
		t.Errorf("answered %q, %v", said, err)
	}
}
