package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/callerauth"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/guard"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/metrics"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// borrow returns a certificate that no client verifies.
func borrow(t *testing.T) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	lender := httptest.NewTLSServer(nil)
	t.Cleanup(lender.Close)
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &lender.TLS.Certificates[0], nil }
}

type evaluator func(context.Context, guard.Request) guard.Verdict

func (e evaluator) Evaluate(ctx context.Context, request guard.Request) guard.Verdict {
	return e(ctx, request)
}

// served are servers that run, with their addresses by name.
type served struct {
	*testing.T
	*Servers
	address map[string]string
	cancel  context.CancelFunc
	end     func() error
}

// serveAll runs a webhook and the probes.
func serveAll(t *testing.T, evaluate evaluator, callers callerauth.Options) *served {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s := &served{T: t, Servers: New(log, 2*time.Second), address: map[string]string{}}
	authenticator, err := callerauth.New(callers, time.Now, log)
	if err != nil {
		t.Fatal(err)
	}
	s.AddWebhook(Webhook{
		Address: "127.0.0.1:0", Certificate: borrow(t), Callers: authenticator,
		Config: func() *config.Config { return &config.Config{NodeSelector: labels.Everything()} }, Evaluator: evaluate, Metrics: metrics.New(),
	})
	s.Add("probes", "127.0.0.1:0", s.Probes())
	var listening sync.WaitGroup
	listening.Add(len(s.servers))
	listen, names := s.listen, []string{"webhook", "probes"}
	s.listen = func(ctx context.Context, network, address string) (net.Listener, error) {
		listener, err := listen(ctx, network, address)
		if err == nil {
			s.address[names[len(s.address)]] = listener.Addr().String()
			listening.Done()
		}
		return listener, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Servers.Run(ctx) }()
	s.cancel, s.end = cancel, sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := s.end(); err != nil {
			t.Errorf("serving ended with: %v", err)
		}
	})
	listening.Wait()
	return s
}

// open connects to a server, by TLS to the webhook.
func (s *served) open(name string) net.Conn {
	s.Helper()
	connection, err := net.Dial("tcp", s.address[name])
	if err == nil && name == "webhook" {
		connection = tls.Client(connection, &tls.Config{InsecureSkipVerify: true})
	}
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { connection.Close() })
	return connection
}

func (s *served) client() *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	s.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ask returns the status and the text of an answer.
func (s *served) ask(client *http.Client, method, url, body string) (*http.Response, string) {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		s.Fatal(err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		s.Fatal(err)
	}
	return response, string(said)
}

func (s *served) webhook(path string) string { return "https://" + s.address["webhook"] + path }

const creation = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE",` +
	`"kind":{"group":"","version":"v1","kind":"Node"},"resource":{"group":"","version":"v1","resource":"nodes"},"object":{"metadata":{"name":"n"}}}}`

const deletion = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"DELETE","userInfo":{"username":"jane"},` +
	`"kind":{"group":"","version":"v1","kind":"Node"},"resource":{"group":"","version":"v1","resource":"nodes"},"oldObject":{"metadata":{"name":"n","uid":"n-1"}}}}`

// Whatever refuses a request, on whatever port: a body that does not come does not hold the
// connection.
func TestStalledBodyEndsItsConnection(t *testing.T) {
	open := serveAll(t, nil, callerauth.Options{})
	fenced := serveAll(t, nil, callerauth.Options{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for name, test := range map[string]struct {
		*served
		server, path, answer string
	}{
		"a webhook":        {open, "webhook", api.MutatePath, "411"},
		"a fenced webhook": {fenced, "webhook", api.MutatePath, "403"},
		"probes":           {open, "probes", "/healthz", "405"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connection, began := test.open(test.server), time.Now()
			if _, err := fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", test.path); err != nil {
				t.Fatal(err)
			}
			if err := connection.SetReadDeadline(began.Add(15 * time.Second)); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(connection)
			if took := time.Since(began); err != nil || took > 8*time.Second {
				t.Errorf("after %s: %v", took, err)
			}
			if !strings.HasPrefix(string(answer), "HTTP/1.1 "+test.answer) {
				t.Errorf("answered %q", answer)
			}
		})
	}
}

func TestStalledBodiesDoNotPinTheWebhook(t *testing.T) {
	s := serveAll(t, nil, callerauth.Options{})
	for range 128 {
		if _, err := io.WriteString(s.open("webhook"), "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if response, said := s.ask(s.client(), http.MethodPost, s.webhook(api.MutatePath), creation); response.StatusCode != http.StatusOK {
		t.Errorf("answered %s %s", response.Status, said)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the answer took %s", took)
	}
}

// The guard reads before it answers: the limit for the body is over then.
func TestGuardHasMoreTimeThanTheBody(t *testing.T) {
	s := serveAll(t, func(ctx context.Context, _ guard.Request) guard.Verdict {
		wait := time.NewTimer(6 * time.Second)
		defer wait.Stop()
		select {
		case <-wait.C:
			return guard.Verdict{Allowed: true}
		case <-ctx.Done():
			return guard.Verdict{Message: "ended: " + context.Cause(ctx).Error()}
		}
	}, callerauth.Options{})
	if _, said := s.ask(s.client(), http.MethodPost, s.webhook(api.GuardPath+"?timeout=10s"), deletion); !strings.Contains(said, `"allowed":true`) {
		t.Errorf("answered %s", said)
	}
}

func TestHeaderIsBounded(t *testing.T) {
	s := serveAll(t, nil, callerauth.Options{})
	connection := s.open("webhook")
	if _, err := fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n", strings.Repeat("x", 2*maxHeader)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("HTTP/1.1 431"))
	if _, err := io.ReadFull(connection, answer); err != nil || string(answer) != "HTTP/1.1 431" {
		t.Errorf("answered %q, %v", answer, err)
	}
	if got := s.servers[0]; got.ReadHeaderTimeout <= 90*time.Second || got.IdleTimeout <= 90*time.Second || got.WriteTimeout != answerTimeout {
		t.Errorf("the limits are %s, %s, %s", got.ReadHeaderTimeout, got.IdleTimeout, got.WriteTimeout)
	}
}

func TestOnlyAllowedNetworksAreServed(t *testing.T) {
	for network, want := range map[string]int{"127.0.0.0/8": http.StatusOK, "10.0.0.0/8": http.StatusForbidden} {
		s := serveAll(t, nil, callerauth.Options{Networks: []netip.Prefix{netip.MustParsePrefix(network)}})
		response, said := s.ask(s.client(), http.MethodPost, s.webhook(api.MutatePath), creation)
		if response.StatusCode != want || want == http.StatusForbidden && !strings.Contains(said, "--webhook-source-cidrs") {
			t.Errorf("with %s the answer is %s %s", network, response.Status, said)
		}
	}
}

// After SIGTERM, the agent is unready at once, answers a while longer, by new connections
// too, and asks every caller to go elsewhere.
func TestStoppingAgentClosesConnections(t *testing.T) {
	s := serveAll(t, nil, callerauth.Options{})
	kept := s.client()
	if response, _ := s.ask(kept, http.MethodPost, s.webhook(api.MutatePath), creation); response.StatusCode != http.StatusOK || response.Close {
		t.Errorf("before, the answer is %s, close %t", response.Status, response.Close)
	}
	if response, said := s.ask(kept, http.MethodGet, "http://"+s.address["probes"]+"/readyz", ""); response.StatusCode != http.StatusOK {
		t.Errorf("it is not ready: %s %s", response.Status, said)
	}
	s.cancel()
	began := time.Now()
	for s.ready.Load() {
		if time.Since(began) > 5*time.Second {
			t.Fatal("it stays ready")
		}
	}
	for what, client := range map[string]*http.Client{"a connection that was kept": kept, "a new connection": s.client()} {
		if response, said := s.ask(client, http.MethodPost, s.webhook(api.MutatePath), creation); response.StatusCode != http.StatusOK || !response.Close {
			t.Errorf("over %s the answer is %s %s, close %t", what, response.Status, said, response.Close)
		}
	}
	if response, _ := s.ask(s.client(), http.MethodGet, "http://"+s.address["probes"]+"/readyz", ""); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("it says that it is ready: %s", response.Status)
	}
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.address["webhook"]); err == nil {
		t.Error("it still listens")
	}
}

// broken is a listener whose Accept fails.
type broken struct{ net.Listener }

var errBroken = errors.New("no more connections")

func (broken) Accept() (net.Conn, error) { return nil, errBroken }

// An agent that cannot serve any more would else stay ready without a webhook.
func TestFailedServerEndsAllServers(t *testing.T) {
	s := New(slog.New(slog.NewTextHandler(t.Output(), nil)), time.Millisecond)
	s.Add("probes", "127.0.0.1:0", s.Probes())
	s.Add("metrics", "127.0.0.1:0", s.Probes())
	listen, first := s.listen, true
	s.listen = func(ctx context.Context, network, address string) (net.Listener, error) {
		listener, err := listen(ctx, network, address)
		if first && err == nil {
			first, listener = false, broken{listener}
		}
		return listener, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Run(ctx); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "serving probes") {
		t.Errorf("it ended with: %v", err)
	}
	if ctx.Err() != nil {
		t.Error("it did not end by itself")
	}
	if s.ready.Load() {
		t.Error("it is ready")
	}
}
