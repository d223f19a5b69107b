package agent

import (
	"cmp"
	"context"
	"crypto/tls"
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
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/admission"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/callerauth"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/httplimit"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
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
	// leaveOpen is how long servers that are about to stop answer with
	// "Connection: close", so that API servers open their next connection
	// elsewhere: stopping at once loses requests. A Pod is told to stop while it is taken
	// out of its Service, and that takes a few seconds to get to everybody.
	leaveOpen = 5 * time.Second
	// leaveIdle is how long after that connections are waited for over which nothing
	// was asked meanwhile. One that is closed while a request is on its way loses
	// that request, and HTTP/1.1 has no way to tell.
	leaveIdle = 2 * time.Second
	// lookOpen is how often they are counted.
	lookOpen = 50 * time.Millisecond
	// stopTimeout is how long open requests are waited for after that.
	stopTimeout = 5 * time.Second
)

// servers are the agent's HTTP servers.
type servers struct {
	log *slog.Logger
	all []*server
	// leaveOpen is that of the constant but in tests.
	leaveOpen time.Duration
	listen    func(ctx context.Context, network, address string) (net.Listener, error)
	stopping  atomic.Bool
	ready     atomic.Bool
}

type server struct {
	name string
	http.Server
	// open counts the connections.
	open atomic.Int64
	// webhook: API servers call it, by TLS. Serving gives every server a TLSConfig.
	webhook bool
}

func newServers(options Options) *servers {
	return &servers{log: options.Log, leaveOpen: cmp.Or(options.LeaveOpen, leaveOpen), listen: new(net.ListenConfig).Listen}
}

func (s *servers) plain(name, address string, handler http.Handler) {
	if address == "" {
		return
	}
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
	s.all = append(s.all, one)
}

// servingCertificate is asked at each handshake.
type servingCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// admission adds the server of the webhooks.
func (s *servers) admission(address string, certificate servingCertificate, callers *callerauth.Authenticator, current func() *config.Config, evaluator admission.Evaluator, meters *metrics.Metrics) {
	selector := func() labels.Selector { return current().NodeSelector }
	log := sparse(s.log, time.Now)
	paths := http.NewServeMux()
	paths.Handle(api.MutatePath, admission.Handler(selector, meters, log))
	paths.Handle(api.GuardPath, admission.GuardHandler(evaluator, callers.Authenticated, meters, log))
	refused := func(request *http.Request, why string) {
		meters.WebhookRequest("", "refused", 0)
		log.Warn("refusing an admission request", "from", request.RemoteAddr, "err", why)
	}
	s.plain("webhook", address, callers.Fence(httplimit.Bodies(admission.MaxBody, refused, paths)))
	server := s.all[len(s.all)-1]
	server.webhook = true
	// By HTTP/2 one connection carries hundreds of requests at once, and the bound on
	// connections would bound no memory.
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate}
	callers.Require(server.TLSConfig)
	// A handshake that was refused is told here and nowhere else.
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
}

// probes answers whether the process lives, and whether it is of use.
func (s *servers) probes() http.Handler {
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

func (s *servers) closing(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if s.stopping.Load() {
			writer.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(writer, request)
	})
}

// run serves until ctx ends, then stops without dropping a request. An address
// that cannot be had is an error at once; a server that cannot go on ends the others.
func (s *servers) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range s.all {
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
func (s *servers) leave() {
	if !slices.ContainsFunc(s.all, func(one *server) bool { return one.webhook }) {
		return
	}
	look, began := time.NewTicker(lookOpen), time.Now()
	defer look.Stop()
	for range look.C {
		open := int64(0)
		for _, one := range s.all {
			if one.webhook { // Who asks for metrics asks again.
				open += one.open.Load()
			}
		}
		if passed := time.Since(began); passed >= s.leaveOpen && (open == 0 || passed >= s.leaveOpen+leaveIdle) {
			return
		}
	}
}

func (s *servers) stop(ctx context.Context) error {
	s.leave()
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var failed error
	for _, server := range s.all {
		if err := server.Shutdown(ctx); err != nil {
			failed = errors.Join(failed, fmt.Errorf("stopping to serve %s: %w", server.name, err))
		}
	}
	return failed
}
