package httplimit

import (
	"bufio"
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

// closes returns what hears of each connection that is closed, once it counts as such.
func closes(server *http.Server) <-chan struct{} {
	closed, track := make(chan struct{}, 1000), server.ConnState
	server.ConnState = func(connection net.Conn, state http.ConnState) {
		track(connection, state)
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	return closed
}

// limited serves a handler within a bound of connections, and tells of each that is closed.
func limited(t *testing.T, max int, handler http.Handler) (*httptest.Server, *Connections, <-chan struct{}) {
	t.Helper()
	server, connections := httptest.NewUnstartedServer(handler), NewConnections(max)
	connections.Bind(server.Config)
	closed := closes(server.Config)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server, connections, closed
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
func TestABodyThatDoesNotComeEndsTheConnection(t *testing.T) {
	for name, handler := range map[string]http.Handler{
		"refused":  Bodies(1<<20, ignore, http.NotFoundHandler()),
		"read":     http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) { _, _ = io.Copy(io.Discard, request.Body) }),
		"left":     http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		"answered": http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) { http.Error(writer, "no", http.StatusForbidden) }),
	} {
		for _, request := range []string{stalledChunks, stalledLength} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server, connections, _ := limited(t, 1, handler)
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
				server.Close()
				if open := connections.Open(); open != 0 {
					t.Errorf("%d connections are counted", open)
				}
			})
		}
	}
}

func TestBodiesThatDoNotComeKeepNobodyOut(t *testing.T) {
	const max = 16
	began := make(chan struct{}, max)
	server, connections, closed := limited(t, max, Bodies(1<<20, ignore, http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		began <- struct{}{}
		_, _ = io.Copy(writer, request.Body)
	})))
	for i := range max {
		connection := say(t, server, []string{stalledChunks, stalledLength}[i%2])
		if i%2 == 0 { // It is refused, and is there all the same.
			if _, err := bufio.NewReader(connection).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		} else {
			<-began
		}
	}
	response, err := http.Post(server.URL, "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if said, err := io.ReadAll(response.Body); err != nil || string(said) != "hello" {
		t.Errorf("answered %s %q, %v", response.Status, said, err)
	}
	<-closed // The one that gave way.
	if open := connections.Open(); open > max {
		t.Errorf("%d are open, of at most %d", open, max)
	}
}

// Who has sent most of a large request, and then nothing, keeps no room that others need.
func TestASlowLargeBodyMakesRoom(t *testing.T) {
	const max = 1 << 20
	began := make(chan struct{}, 1)
	server, _, _ := limited(t, 16, Bodies(max, ignore, http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		began <- struct{}{}
		_, _ = io.Copy(io.Discard, request.Body)
	})))
	say(t, server, fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", max))
	<-began
	tried := time.NewTicker(slowness / 10)
	defer tried.Stop()
	for start := time.Now(); ; <-tried.C {
		response, err := http.Post(server.URL, "text/plain", strings.NewReader(strings.Repeat("x", max)))
		if err == nil {
			response.Body.Close()
		}
		took := time.Since(start)
		if err == nil && response.StatusCode == http.StatusOK {
			if took < slowness*9/10 {
				t.Errorf("it had to give way after %s", took)
			}
			return
		}
		if took > bodyTimeout-time.Second {
			t.Fatalf("after %s there is no room: %v, %v", took, response, err)
		}
	}
}

// The limit for the body is none for the answer: net/http takes it off.
func TestAnAnswerMayTakeLongerThanTheBody(t *testing.T) {
	server, _, _ := limited(t, 1, Bodies(1<<20, ignore, http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
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
