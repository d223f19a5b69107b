package httpclient

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

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Trust makes the client of a plugin from its options about certificates. The values may come from
// Secrets, so they are read for each request. A changed value creates a new client. The zero value
// is ready to use.
type Trust struct {
	mutex  sync.Mutex
	bundle string
	client *http.Client
}

// Client returns the client to send with: base if caBundle is empty, otherwise one that trusts only
// the CAs in it.
func (t *Trust) Client(ctx context.Context, base *http.Client, secrets cleanup.Secrets, caBundle cleanup.Value) (*http.Client, error) {
	if caBundle.Empty() {
		return base, nil
	}
	bundle, err := Resolve(ctx, secrets, caBundle)
	if err != nil {
		return nil, fmt.Errorf("finding the CA bundle: %w", err)
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.client != nil && t.bundle == bundle {
		return t.client, nil
	}
	roots, err := ParseBundle(bundle)
	if err != nil {
		return nil, fmt.Errorf("the CA bundle %w", err)
	}
	if t.client != nil {
		t.client.CloseIdleConnections()
	}
	client := *base
	client.Transport = withTLS(base.Transport, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	t.bundle, t.client = bundle, &client
	return t.client, nil
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

// ParseBundle accepts only PEM certificates, at least one. Its error contains no part of the
// bundle.
func ParseBundle(bundle string) (*x509.CertPool, error) {
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
