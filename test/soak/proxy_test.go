package soak_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// proxy forwards TCP connections to the first address that accepts them. It can be cut like a
// network: then open connections end, and new ones are refused.
type proxy struct {
	port int

	mutex    sync.Mutex
	backends []string
	cut      bool
	open     map[net.Conn]bool
}

func newProxy(t *testing.T, backends ...string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{port: listener.Addr().(*net.TCPAddr).Port, backends: backends, open: map[net.Conn]bool{}}
	var forwards sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		p.set(true)
		forwards.Wait()
	})
	forwards.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("accepting: %v", err)
				}
				return
			}
			forwards.Go(func() { p.forward(connection) })
		}
	})
	return p
}

// set cuts the proxy, or lets it forward again.
func (p *proxy) set(cut bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.cut = cut; cut {
		for connection := range p.open {
			connection.Close()
		}
	}
}

// keep remembers an open connection, unless the proxy is cut.
func (p *proxy) keep(connection net.Conn) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if !p.cut {
		p.open[connection] = true
	}
	return !p.cut
}

func (p *proxy) close(connection net.Conn) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.open, connection)
	connection.Close()
}

func (p *proxy) forward(client net.Conn) {
	defer p.close(client)
	if !p.keep(client) {
		return
	}
	for _, address := range p.backends {
		backend, err := net.Dial("tcp", address)
		if err != nil {
			continue
		}
		defer p.close(backend)
		if !p.keep(backend) {
			return
		}
		var both sync.WaitGroup
		for _, way := range [][2]net.Conn{{backend, client}, {client, backend}} {
			both.Go(func() {
				// When one side ends, the other side is closed. The sides handle the errors.
				_, _ = io.Copy(way[0], way[1])
				_ = way[0].(*net.TCPConn).CloseWrite()
			})
		}
		both.Wait()
		return
	}
}
