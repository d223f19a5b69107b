package httplimit

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// received is when all of a request is there.
const received = http.ConnState(100)

// track takes connections through states, and lets time pass between them. It
// returns the names of those that are closed.
func track(t *testing.T, c *Connections, script ...any) (closed []string) {
	t.Helper()
	now := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	c.now = func() time.Time { return now }
	names := map[net.Conn]string{}
	connections := map[string]net.Conn{}
	var name string
	for _, word := range script {
		switch word := word.(type) {
		case time.Duration:
			now = now.Add(word)
		case string:
			name = word
			if connections[name] == nil {
				ours, theirs := net.Pipe()
				t.Cleanup(func() { ours.Close(); theirs.Close() })
				connections[name], names[ours] = ours, name
			}
		case http.ConnState:
			if word == received {
				c.received(connections[name])
				continue
			}
			if victim := c.track(connections[name], word); victim != nil {
				closed = append(closed, names[victim])
				c.track(victim, http.StateClosed)
			}
		}
	}
	return closed
}

func TestWhichConnectionGivesWay(t *testing.T) {
	const opened, asks, rests = http.StateNew, http.StateActive, http.StateIdle
	for name, test := range map[string]struct {
		script []any
		want   string
	}{
		"who asks nothing, before who rests":             {[]any{"resting", opened, asks, rests, time.Minute, "silent", opened, silence, "new", opened}, "silent"},
		"who rests for long, before who is just opening": {[]any{"resting", opened, asks, rests, idleness, "opening", opened, "new", opened}, "resting"},
		"who is just opening, before who rests shortly":  {[]any{"resting", opened, asks, rests, idleness - 1, "opening", opened, "new", opened}, "opening"},
		"who rests shortly, before nobody":               {[]any{"busy", opened, asks, received, "resting", opened, asks, rests, "new", opened}, "resting"},
		"the new one, when all others are at work":       {[]any{"busy", opened, asks, received, "busy too", opened, asks, received, time.Minute, "new", opened}, "new"},
		"who sends slowly, before who rests for long":    {[]any{"resting", opened, asks, received, rests, time.Minute, "sending", opened, asks, slowness, "new", opened}, "sending"},
		"who asks nothing, before who sends slowly":      {[]any{"sending", opened, asks, time.Minute, "silent", opened, silence, "new", opened}, "silent"},
		"who has sent all stays, however long it takes":  {[]any{"busy", opened, asks, received, time.Minute, "sending", opened, asks, slowness, "new", opened}, "sending"},
		"who rests, before who has just begun to send":   {[]any{"resting", opened, asks, received, rests, "sending", opened, asks, slowness - 1, "new", opened}, "resting"},
		"who has just begun to send, before nobody":      {[]any{"busy", opened, asks, received, "sending", opened, asks, "new", opened}, "sending"},
		"the oldest": {[]any{"oldest", opened, time.Nanosecond, "older", opened, silence, "new", opened}, "oldest"},
	} {
		c := NewConnections(2)
		if closed := track(t, c, test.script...); len(closed) != 1 || closed[0] != test.want || c.Open() != 2 {
			t.Errorf("%s: closed %q, %d are open", name, closed, c.Open())
		}
	}
}

// Those who send slowly hold memory: of many the oldest gives way before there is no place left.
func TestFewSendSlowly(t *testing.T) {
	script := []any{}
	for _, name := range []string{"one", "two", "three"} {
		script = append(script, name, http.StateNew, http.StateActive)
	}
	c := NewConnections(3 * readingShare)
	if closed := track(t, c, append(script, "quick", http.StateNew, http.StateActive)...); len(closed) != 0 {
		t.Errorf("closed %q, though nobody is slow", closed)
	}
	c = NewConnections(3 * readingShare)
	if closed := track(t, c, append(script, hurry, "quick", http.StateNew, http.StateActive)...); len(closed) != 1 || closed[0] != "one" {
		t.Errorf("closed %q", closed)
	}
}

// Who means harm needs many connections: a caller who has just been answered is not put out by
// them, however fast they come anew.
func TestThoseOfWhomThereAreMostGiveWay(t *testing.T) {
	const opened, asks, rests = http.StateNew, http.StateActive, http.StateIdle
	for name, many := range map[string][]any{
		"many send":         {opened, asks},
		"many are opened":   {opened},
		"many ask and rest": {opened, asks, received, rests},
	} {
		var script []any
		for _, one := range []string{"first", "second", "third"} {
			script = append(append(script, one), many...)
		}
		script = append(script, "honest", opened, asks, received, rests, "new", opened)
		if closed := track(t, NewConnections(4), script...); len(closed) != 1 || closed[0] != "first" {
			t.Errorf("%s: closed %q", name, closed)
		}
	}
}

func TestConnectionsThatAskNothingKeepNobodyOut(t *testing.T) {
	const max = 32
	c := NewConnections(max)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = c.Track
	closed := closes(server.Config)
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
	for range 10*max + 2 - max {
		<-closed // What had to give way has.
	}
	if open := c.Open(); open > max {
		t.Errorf("%d are open, of at most %d", open, max)
	}
}
