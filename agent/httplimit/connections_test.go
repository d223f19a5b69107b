package httplimit

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// track takes connections through states, and returns the names of those that are closed.
func track(t *testing.T, c *Connections, script ...any) (closed []string) {
	t.Helper()
	names := map[net.Conn]string{}
	connections := map[string]net.Conn{}
	for i := 0; i < len(script); i += 2 {
		name, state := script[i].(string), script[i+1].(http.ConnState)
		if connections[name] == nil {
			ours, theirs := net.Pipe()
			t.Cleanup(func() { ours.Close(); theirs.Close() })
			connections[name], names[ours] = ours, name
		}
		if victim := c.track(connections[name], state); victim != nil {
			closed = append(closed, names[victim])
			c.track(victim, http.StateClosed)
		}
	}
	return closed
}

func TestTheOldestSilentConnectionGoesFirst(t *testing.T) {
	c := NewConnections(3)
	closed := track(t, c,
		"server", http.StateNew, "server", http.StateActive, "server", http.StateIdle,
		"silent", http.StateNew, "later", http.StateNew, "new", http.StateNew, "newer", http.StateNew)
	if len(closed) != 2 || closed[0] != "silent" || closed[1] != "later" || c.Open() != 3 {
		t.Errorf("closed %q, %d are open", closed, c.Open())
	}
}

func TestANewConnectionTakesThePlaceOfAnIdleOne(t *testing.T) {
	c := NewConnections(2)
	closed := track(t, c,
		"busy", http.StateNew, "busy", http.StateActive,
		"idle", http.StateNew, "idle", http.StateActive, "idle", http.StateIdle,
		"new", http.StateNew)
	if len(closed) != 1 || closed[0] != "idle" {
		t.Errorf("closed %q", closed)
	}
}

func TestWorkIsNeverInterrupted(t *testing.T) {
	c := NewConnections(1)
	closed := track(t, c, "busy", http.StateNew, "busy", http.StateActive, "new", http.StateNew)
	if len(closed) != 1 || closed[0] != "new" || c.Open() != 1 {
		t.Errorf("closed %q, %d are open", closed, c.Open())
	}
}

func TestConnectionsThatAskNothingKeepNobodyOut(t *testing.T) {
	const max = 32
	c := NewConnections(max)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = c.Track
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // It names each handshake that was cut off.
	server.StartTLS()
	defer server.Close()
	ask := func() {
		t.Helper()
		response, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	ask() // Over a connection that stays.
	for range 10 * max {
		silent, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	ask()
	server.Client().CloseIdleConnections()
	ask() // Over a new one.
	if open := c.Open(); open > max {
		t.Errorf("%d are open, of at most %d", open, max)
	}
}
