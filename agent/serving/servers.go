// Package serving runs the HTTP servers of the agent: the webhooks, the probes and the metrics.
package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/httplimit"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Limits of the HTTP servers.
const (
	// idleTimeout is how long a connection may be open without a request, and, with its
	// header, before the first one: API servers open connections in advance. They close
	// idle ones after 90 s. Closing one sooner can meet a request that is on its way, which
	// is then lost.
	idleTimeout = 2 * time.Minute
	// answerTimeout is how long a handshake may take, and an answer after the request.
	answerTimeout = 10 * time.Second
	maxHeader     = 32 << 10 // bytes
	// maxConnections is more than one caller needs to keep out the others, see the test
	// with two thousand. It bounds the memory: 10 KiB for each, and a small body.
	maxConnections = 3000
	// DefaultShutdownDelay is how long servers that are about to stop answer with
	// "Connection: close", so that API servers open their next connection
	// elsewhere: stopping at once loses requests. A Pod is told to stop while it is taken
	// out of its Service, and that takes a few seconds to get to everybody.
	DefaultShutdownDelay = 5 * time.Second
	// leaveIdle is how long after that connections are waited for over which nothing
	// was asked meanwhile. One that is closed while a request is on its way loses
	// that request, and HTTP/1.1 has no way to tell.
	leaveIdle = 2 * time.Second
	// lookOpen is how often they are counted.
	lookOpen = 50 * time.Millisecond
	// stopTimeout is how long open requests are waited for after that.
	stopTimeout = 5 * time.Second
)

// Servers are the agent's HTTP servers.
type Servers struct {
	log           *slog.Logger
	servers       []*server
	shutdownDelay time.Duration
	listen        func(ctx context.Context, network, address string) (net.Listener, error)
	stopping      atomic.Bool
	ready         atomic.Bool
}

type server struct {
	name string
	http.Server
	// open counts the connections.
	open atomic.Int64
	// webhook: API servers call it, by TLS. Serving gives every server a TLSConfig.
	webhook bool
}

// New returns Servers without any server. The shutdownDelay of a Pod is DefaultShutdownDelay.
func New(log *slog.Logger, shutdownDelay time.Duration) *Servers {
	return &Servers{log: log, shutdownDelay: shutdownDelay, listen: new(net.ListenConfig).Listen}
}

// Add adds a server without TLS. An empty address adds none.
func (s *Servers) Add(name, address string, handler http.Handler) {
	if address != "" {
		s.add(name, address, handler)
	}
}

func (s *Servers) add(name, address string, handler http.Handler) *server {
	one := &server{name: name, Server: http.Server{
		Addr: address, Handler: httplimit.Timely(s.closing(handler)),
		ReadHeaderTimeout: idleTimeout, IdleTimeout: idleTimeout, WriteTimeout: answerTimeout, MaxHeaderBytes: maxHeader,
	}}
	one.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			one.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			one.open.Add(-1)
		}
	}
	s.servers = append(s.servers, one)
	return one
}

// Probes answers whether the process lives, and whether it is of use.
func (s *Servers) Probes() http.Handler {
	paths := http.NewServeMux()
	paths.HandleFunc("GET "+api.HealthPath, func(writer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(writer, "ok") })
	paths.HandleFunc("GET "+api.ReadyPath, func(writer http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			http.Error(writer, "starting or stopping", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(writer, "ok")
	})
	return paths
}

func (s *Servers) closing(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if s.stopping.Load() {
			writer.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(writer, request)
	})
}

// Run serves until ctx ends, then stops without dropping a request. An address
// that cannot be had is an error at once; a server that cannot go on ends the others.
func (s *Servers) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range s.servers {
		listener, err := s.listen(ctx, "tcp", server.Addr)
		if err != nil {
			return fmt.Errorf("listening for %s: %w", server.name, err)
		}
		s.log.Info("serving", "what", server.name, "address", listener.Addr().String())
		listener = netutil.LimitListener(listener, maxConnections)
		group.Go(func() (err error) {
			if server.webhook {
				err = server.ServeTLS(listener, "", "")
			} else {
				err = server.Serve(listener)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving %s: %w", server.name, err)
			}
			return nil
		})
	}
	s.ready.Store(true)
	group.Go(func() error {
		<-ctx.Done()
		s.ready.Store(false)
		s.stopping.Store(true)
		return s.stop(context.WithoutCancel(ctx))
	})
	return group.Wait()
}

// leave returns when callers have gone elsewhere, or had the time to.
func (s *Servers) leave() {
	if !slices.ContainsFunc(s.servers, func(one *server) bool { return one.webhook }) {
		return
	}
	look, began := time.NewTicker(lookOpen), time.Now()
	defer look.Stop()
	for range look.C {
		open := int64(0)
		for _, one := range s.servers {
			if one.webhook { // Who asks for metrics asks again.
				open += one.open.Load()
			}
		}
		if passed := time.Since(began); passed >= s.shutdownDelay && (open == 0 || passed >= s.shutdownDelay+leaveIdle) {
			return
		}
	}
}

func (s *Servers) stop(ctx context.Context) error {
	s.leave()
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var failed error
	for _, server := range s.servers {
		if err := server.Shutdown(ctx); err != nil {
			failed = errors.Join(failed, fmt.Errorf("stopping to serve %s: %w", server.name, err))
		}
	}
	return failed
}
