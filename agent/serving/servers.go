// Package serving runs the HTTP servers of the agent: the webhooks, the probes and the metrics. It
// limits what callers can occupy, and stops without losing a request.
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
	// idleTimeout is how long a connection may be open without a request, and how long the
	// header of the first one may take: API servers open connections in advance. They close
	// idle ones after 90 s. If the agent closed one before that, it could lose a request that
	// was just sent.
	idleTimeout = 2 * time.Minute
	// answerTimeout is how long a handshake may take, and an answer after the request.
	answerTimeout = 10 * time.Second
	maxHeader     = 32 << 10 // bytes
	// maxConnections is more than one caller needs to keep out the others, see the test with
	// two thousand. It bounds the memory: 10 KiB for each, and a small body.
	maxConnections = 3000
	// DefaultShutdownDelay is how long servers that are about to stop answer with
	// "Connection: close", so that API servers open their next connection to another replica.
	// A Pod is stopped while it is removed from the endpoints of its Service, and it takes a
	// few seconds until everyone knows.
	DefaultShutdownDelay = 5 * time.Second
	// idleDelay is how much longer the servers wait for connections without a request in
	// that time. Closing one loses a request that was just sent, and HTTP/1.1 has no way to
	// tell.
	idleDelay = 2 * time.Second
	// pollPeriod is the time between two counts of the open connections.
	pollPeriod = 50 * time.Millisecond
	// shutdownTimeout is how long the servers then wait for requests in progress.
	shutdownTimeout = 5 * time.Second
)

// Servers are the HTTP servers of the agent. Add all of them, then call Run.
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
	// open is the number of open connections.
	open atomic.Int64
	// webhook: API servers call it, with TLS. (Serve gives every server a TLSConfig.)
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

// Probes returns the handler of the liveness and the readiness probe.
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

// closing asks callers to close their connections while the servers stop.
func (s *Servers) closing(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if s.stopping.Load() {
			writer.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(writer, request)
	})
}

// Run serves until ctx ends, then stops without losing a request. It returns an error at once if
// it cannot listen on an address. If one server fails, the others stop.
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

// drain waits until API servers have closed their connections to the webhook, or had time to.
func (s *Servers) drain() {
	if !slices.ContainsFunc(s.servers, func(one *server) bool { return one.webhook }) {
		return
	}
	poll, began := time.NewTicker(pollPeriod), time.Now()
	defer poll.Stop()
	for range poll.C {
		open := int64(0)
		for _, one := range s.servers {
			if one.webhook { // The callers of the others retry.
				open += one.open.Load()
			}
		}
		if passed := time.Since(began); passed >= s.shutdownDelay && (open == 0 || passed >= s.shutdownDelay+idleDelay) {
			return
		}
	}
}

func (s *Servers) stop(ctx context.Context) error {
	s.drain()
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	var failed error
	for _, server := range s.servers {
		if err := server.Shutdown(ctx); err != nil {
			failed = errors.Join(failed, fmt.Errorf("stopping to serve %s: %w", server.name, err))
		}
	}
	return failed
}
