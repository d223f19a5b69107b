package http

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// trust is the client that trusts the CAs of option caBundle. The bundle may come from a Secret,
// so it is read for each request. A changed bundle creates a new client.
type trust struct {
	mutex  sync.Mutex
	bundle string
	client *http.Client
}

// clientFor returns the client to send with.
func (p *plugin) clientFor(ctx context.Context) (*http.Client, error) {
	if p.CABundle.Empty() {
		return p.client, nil
	}
	bundle, err := p.resolve(ctx, p.CABundle)
	if err != nil {
		return nil, fmt.Errorf("finding the CA bundle: %w", err)
	}
	p.trust.mutex.Lock()
	defer p.trust.mutex.Unlock()
	if p.trust.client != nil && p.trust.bundle == bundle {
		return p.trust.client, nil
	}
	roots, err := parseBundle(bundle)
	if err != nil {
		return nil, fmt.Errorf("the CA bundle %w", err)
	}
	if p.trust.client != nil {
		p.trust.client.CloseIdleConnections()
	}
	client := *p.client
	client.Transport = withTLS(p.client.Transport, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	p.trust.bundle, p.trust.client = bundle, &client
	return p.trust.client, nil
}

// withTLS returns the transport with another TLS config. A wrapping transport, such as the agent's
// fence that sends only while the agent leads, implements WithTLS itself.
func withTLS(given http.RoundTripper, config *tls.Config) http.RoundTripper {
	if around, is := given.(interface {
		WithTLS(*tls.Config) http.RoundTripper
	}); is {
		return around.WithTLS(config)
	}
	transport, is := given.(*http.Transport)
	if !is {
		transport = http.DefaultTransport.(*http.Transport)
	}
	transport = transport.Clone()
	transport.TLSClientConfig = config
	return transport
}

// parseBundle accepts only PEM certificates, at least one. Its error contains no part of the
// bundle.
func parseBundle(bundle string) (*x509.CertPool, error) {
	roots, found := x509.NewCertPool(), 0
	for rest := bytes.TrimSpace([]byte(bundle)); len(rest) > 0; found++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("holds something else than PEM certificates")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds a certificate that cannot be read, number %d", found+1)
		}
		roots.AddCert(certificate)
	}
	if found == 0 {
		return nil, errors.New("holds no certificate")
	}
	return roots, nil
}
