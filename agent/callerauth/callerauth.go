// Package callerauth decides who may call the webhook: whoever shows a client
// certificate of a CA of its own, with a subject that is allowed. The cluster's CA
// would not do, it signs every kubelet's. A source address is a second, weaker fence.
//
// An API server shows a certificate only if it was told to, by
// --admission-control-config-file, so all of this is off by default.
package callerauth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// Options say who may call. The zero value lets everybody.
type Options struct {
	// CAFile holds the CAs of client certificates in PEM; empty asks for none.
	CAFile string
	// Subjects are the common names that are allowed; at least one with a CAFile.
	Subjects []string
	// Networks that requests may come from; empty for any.
	Networks []netip.Prefix
}

// Guard lets those in who may call.
type Guard struct {
	options Options
	now     func() time.Time
	log     *slog.Logger

	mutex sync.Mutex
	read  []byte
	roots *x509.CertPool
}

// New reads the CA file, and fails where that cannot be used: an agent that was
// told to ask for certificates must not run without.
func New(options Options, now func() time.Time, log *slog.Logger) (*Guard, error) {
	g := &Guard{options: options, now: now, log: log}
	if options.CAFile == "" {
		return g, nil
	}
	if len(options.Subjects) == 0 || slices.Contains(options.Subjects, "") {
		return nil, errors.New("no subject of a client certificate is allowed, so nobody could call the webhook: name one by --webhook-client-subjects")
	}
	return g, g.reread()
}

// Demand has a TLS server ask for a client certificate.
func (g *Guard) Demand(server *tls.Config) {
	if g.options.CAFile == "" {
		return
	}
	// The verification is here and not in crypto/tls: VerifyConnection also runs when
	// a session is resumed, and a CA that was taken out is then no longer trusted.
	server.ClientAuth = tls.RequireAnyClientCert
	server.VerifyConnection = g.verify
}

func (g *Guard) verify(connection tls.ConnectionState) error {
	// The file is small and handshakes are few: API servers keep their connections.
	if err := g.reread(); err != nil {
		g.log.Error("the CAs of the webhook's callers cannot be read, the last ones stay", "err", err)
	}
	if len(connection.PeerCertificates) == 0 {
		return errors.New("the caller shows no client certificate")
	}
	leaf, intermediates := connection.PeerCertificates[0], x509.NewCertPool()
	for _, one := range connection.PeerCertificates[1:] {
		intermediates.AddCert(one)
	}
	g.mutex.Lock()
	roots := g.roots
	g.mutex.Unlock()
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: g.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return fmt.Errorf("the caller's client certificate of %q: %w", leaf.Subject.CommonName, err)
	}
	if !slices.Contains(g.options.Subjects, leaf.Subject.CommonName) {
		return fmt.Errorf("the caller is %q, who may not call the webhook", leaf.Subject.CommonName)
	}
	return nil
}

// Authenticated reports whether the caller of a request showed a client certificate that
// verify accepted. Without a CA file nobody is authenticated.
func (g *Guard) Authenticated(request *http.Request) bool {
	return g.options.CAFile != "" && request.TLS != nil && len(request.TLS.PeerCertificates) > 0
}

// reread takes the CA file in when it has changed.
func (g *Guard) reread() error {
	data, err := os.ReadFile(g.options.CAFile)
	if err != nil {
		return fmt.Errorf("reading the CAs of the webhook's callers: %w", err)
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.roots != nil && bytes.Equal(data, g.read) {
		return nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return fmt.Errorf("reading the CAs of the webhook's callers: there is no certificate in %s", g.options.CAFile)
	}
	g.read, g.roots = data, roots
	return nil
}

// Fence refuses requests from other networks.
func (g *Guard) Fence(next http.Handler) http.Handler {
	if len(g.options.Networks) == 0 {
		return next
	}
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if from, err := netip.ParseAddrPort(request.RemoteAddr); err != nil || !g.from(from.Addr().Unmap()) {
			g.log.Warn("refusing an admission request from a network that may not call", "from", request.RemoteAddr)
			http.Error(writer, "nodecleanup-agent: requests from "+request.RemoteAddr+" are not allowed: see --webhook-source-cidrs", http.StatusForbidden)
			return
		}
		next.ServeHTTP(writer, request)
	})
}

func (g *Guard) from(address netip.Addr) bool {
	return slices.ContainsFunc(g.options.Networks, func(network netip.Prefix) bool { return network.Contains(address) })
}
