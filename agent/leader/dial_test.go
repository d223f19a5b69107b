package leader

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

func TestFormerLeaderWritesNothingOnItsConnections(t *testing.T) {
	here, there := net.Pipe()
	arrived := make(chan string)
	go func() {
		data, err := io.ReadAll(there)
		if err != nil {
			t.Error(err)
		}
		arrived <- string(data)
	}()
	var lost error
	dials := 0
	dialer := dialer{func(context.Context, string, string) (net.Conn, error) { dials++; return here, nil }, func() error { return lost }}
	conn, err := dialer.dial(t.Context(), "tcp", "mail:587")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("leads")); err != nil {
		t.Error(err)
	}
	lost = errors.New("the Lease is zoe's")
	if _, err := conn.Write([]byte("lost")); !errors.Is(err, lost) || !strings.Contains(err.Error(), "this agent is no longer the leader: the Lease is zoe's") {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if got := <-arrived; got != "leads" {
		t.Errorf("%q arrived", got)
	}
	if _, err := dialer.dial(t.Context(), "tcp", "mail:587"); !errors.Is(err, lost) || dials != 1 {
		t.Errorf("%v after %d connections", err, dials)
	}
	if _, can := conn.(io.ReaderFrom); can {
		t.Error("ReadFrom would write past the fence")
	}
}
