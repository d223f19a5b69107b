package rollout_test

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
)

// balancer acts as a Service does for the API server: it sends a new connection to a ready agent,
// and does not move open connections.
type balancer struct {
	*testing.T
	port int

	mutex    sync.Mutex
	backends []string
	turn     int
}

func balance(t *testing.T) *balancer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{T: t, port: listener.Addr().(*net.TCPAddr).Port}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("accepting: %v", err)
				}
				return
			}
			go b.forward(connection)
		}
	}()
	return b
}

func (b *balancer) add(address string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.backends = append(b.backends, address)
}

func (b *balancer) remove(address string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.backends = slices.DeleteFunc(slices.Clone(b.backends), func(one string) bool { return one == address })
}

// next returns the agents in turn, "" if there is none.
func (b *balancer) next() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if len(b.backends) == 0 {
		return ""
	}
	b.turn++
	return b.backends[b.turn%len(b.backends)]
}

func (b *balancer) forward(client net.Conn) {
	defer client.Close()
	backend, err := net.Dial("tcp", b.next())
	if err != nil {
		b.Errorf("no agent took a connection: %v", err)
		return
	}
	defer backend.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{backend, client}, {client, backend}} {
		both.Go(func() {
			// When one side ends, the other side is closed. The test checks the errors.
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}
