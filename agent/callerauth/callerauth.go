// Package callerauth authenticates the callers of the webhook by a client certificate with an
// allowed subject, signed by a CA of its own. The CA of the cluster also signs the certificates
// of kubelets. The source address is a second, weaker check.
//
// An API server shows a certificate only if --admission-control-config-file configures one, so
// all of this is off by default.
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

// Options say who may call. The zero value allows every caller.
type Options struct {
	// CAFile holds the CAs of client certificates in PEM; without it no certificate is required.
	CAFile string
	// Subjects are the common names that are allowed; at least one with a CAFile.
	Subjects []string
	// Networks that requests may come from; empty for any.
	Networks []netip.Prefix
}

// Authenticator checks the callers of the webhook.
type Authenticator struct {
	options Options
	now     func() time.Time
	log     *slog.Logger

	mutex sync.Mutex
	read  []byte
	roots *x509.CertPool
}

// New reads the CA file. It returns an error if the file cannot be used: an agent that must
// require certificates must not run without.
func New(options Options, now func() time.Time, log *slog.Logger) (*Authenticator, error) {
	a := &Authenticator{options: options, now: now, log: log}
	if options.CAFile == "" {
		return a, nil
	}
	if len(options.Subjects) == 0 || slices.Contains(options.Subjects, "") {
		return nil, errors.New("no subject of a client certificate is allowed, so no caller could use the webhook: set --webhook-client-subjects")
	}
	return a, a.reread()
}

// Require makes a TLS server require a client certificate.
func (a *Authenticator) Require(server *tls.Config) {
	if a.options.CAFile == "" {
		return
	}
	// VerifyConnection, unlike the verification of crypto/tls, also runs when a session is
	// resumed: a CA that was removed is then no longer trusted.
	server.ClientAuth = tls.RequireAnyClientCert
	server.VerifyConnection = a.verify
}

func (a *Authenticator) verify(connection tls.ConnectionState) error {
	// The file is small, and handshakes are rare: API servers keep their connections.
	if err := a.reread(); err != nil {
		a.log.Error("reading the CAs of the webhook's callers, keeping the previous ones", "err", err)
	}
	if len(connection.PeerCertificates) == 0 {
		return errors.New("the caller shows no client certificate")
	}
	leaf, intermediates := connection.PeerCertificates[0], x509.NewCertPool()
	for _, one := range connection.PeerCertificates[1:] {
		intermediates.AddCert(one)
	}
	a.mutex.Lock()
	roots := a.roots
	a.mutex.Unlock()
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: a.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return fmt.Errorf("the caller's client certificate of %q: %w", leaf.Subject.CommonName, err)
	}
	if !slices.Contains(a.options.Subjects, leaf.Subject.CommonName) {
		return fmt.Errorf("the caller is %q, who may not call the webhook", leaf.Subject.CommonName)
	}
	return nil
}

// Authenticated reports whether the caller of a request showed a client certificate that
// verify accepted. Without a CA file nobody is authenticated.
func (a *Authenticator) Authenticated(request *http.Request) bool {
	return a.options.CAFile != "" && request.TLS != nil && len(request.TLS.PeerCertificates) > 0
}

// reread loads the CA file if it has changed.
func (a *Authenticator) reread() error {
	data, err := os.ReadFile(a.options.CAFile)
	if err != nil {
		return fmt.Errorf("reading the CAs of the webhook's callers: %w", err)
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.roots != nil && bytes.Equal(data, a.read) {
		return nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return fmt.Errorf("reading the CAs of the webhook's callers: there is no certificate in %s", a.options.CAFile)
	}
	a.read, a.roots = data, roots
	return nil
}

// RestrictNetworks refuses requests from other networks.
func (a *Authenticator) RestrictNetworks(next http.Handler) http.Handler {
	if len(a.options.Networks) == 0 {
		return next
	}
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if from, err := netip.ParseAddrPort(request.RemoteAddr); err != nil || !a.from(from.Addr().Unmap()) {
			a.log.Warn("refusing an admission request from a network that may not call", "from", request.RemoteAddr)
			http.Error(writer, "nodecleanup-agent: requests from "+request.RemoteAddr+" are not allowed: see --webhook-source-cidrs", http.StatusForbidden)
			return
		}
		next.ServeHTTP(writer, request)
	})
}

func (a *Authenticator) from(address netip.Addr) bool {
	return slices.ContainsFunc(a.options.Networks, func(network netip.Prefix) bool { return network.Contains(address) })
}
