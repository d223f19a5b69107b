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

// TLS are a plugin's options about certificates, all in PEM.
type TLS struct {
	// CABundle holds the CAs that verify the server's certificate. If it is empty, the system's CAs do.
	CABundle cleanup.Value
	// Certificate and Key identify the client, if they are not empty.
	Certificate, Key cleanup.Value
}

// Trust makes the client of a plugin from its options about certificates. The values may come from
// Secrets, so they are read for each request. A changed value creates a new client. The zero value
// is ready to use.
type Trust struct {
	mutex  sync.Mutex
	from   [3]string
	client *http.Client
}

// Client returns the client to send with: base if the options are empty, otherwise one that follows
// them.
func (t *Trust) Client(ctx context.Context, base *http.Client, secrets cleanup.Secrets, options TLS) (*http.Client, error) {
	if options.CABundle.Empty() && options.Certificate.Empty() {
		return base, nil
	}
	var from [3]string
	for i, value := range []struct {
		what string
		cleanup.Value
	}{{"CA bundle", options.CABundle}, {"client certificate", options.Certificate}, {"client key", options.Key}} {
		if value.Empty() {
			continue
		}
		var err error
		if from[i], err = Resolve(ctx, secrets, value.Value); err != nil {
			return nil, fmt.Errorf("finding the %s: %w", value.what, err)
		}
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.client != nil && t.from == from {
		return t.client, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if from[0] != "" {
		roots, err := ParseBundle(from[0])
		if err != nil {
			return nil, fmt.Errorf("the CA bundle %w", err)
		}
		config.RootCAs = roots
	}
	if from[1] != "" {
		pair, err := tls.X509KeyPair([]byte(from[1]), []byte(from[2]))
		if err != nil { // It is not wrapped: it may quote the key.
			return nil, errors.New("the client certificate and its key are not PEM, or do not belong together")
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if t.client != nil {
		t.client.CloseIdleConnections()
	}
	client := *base
	client.Transport = withTLS(base.Transport, config)
	t.from, t.client = from, &client
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

// BundleProblem returns the fault of an option with PEM certificates, or "". It does not read Secrets. An
// empty value has no fault.
func BundleProblem(value cleanup.Value) string {
	if value.Empty() {
		return ""
	}
	if problem := value.Problem(); problem != "" {
		return problem
	}
	if _, secret := value.SecretKey(); !secret {
		if _, err := ParseBundle(value.Literal()); err != nil {
			return err.Error()
		}
	}
	return ""
}

// ParseBundle accepts only PEM certificates, at least one. Its error contains no part of the
// bundle.
func ParseBundle(bundle string) (*x509.CertPool, error) {
	roots, found := x509.NewCertPool(), 0
	for rest := bytes.TrimSpace([]byte(bundle)); len(rest) > 0; found++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("contains something other than PEM certificates")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("contains a certificate that cannot be parsed, number %d", found+1)
		}
		roots.AddCert(certificate)
	}
	if found == 0 {
		return nil, errors.New("contains no certificate")
	}
	return roots, nil
}
