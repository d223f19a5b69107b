package http

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
)

// where names the destination without secrets: only the host of an inline URL, or the Secret that
// holds the URL.
func (p *plugin) where() string {
	if key, secret := p.URL.SecretKey(); secret {
		return fmt.Sprintf("the URL in secret %s/%s", key.Name, key.Key)
	}
	parsed, err := parseURL(p.URL.Literal())
	if err != nil {
		return "the URL" // Validate has refused it.
	}
	return parsed.Scheme + "://" + parsed.Host
}

// secret reports whether the request carried anything from a Secret: then the
// answer might repeat it, and is not shown.
func (p *plugin) secret() bool {
	_, secret := p.URL.SecretKey()
	for _, value := range p.Headers {
		_, in := value.SecretKey()
		secret = secret || in
	}
	return secret
}

// conceal removes possible secrets from an error of net/http. It always removes the URL. If the
// request used a Secret, it keeps only the kind of the error, because wrapped errors name the host
// and quote malformed responses.
func (p *plugin) conceal(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if !p.secret() {
		return err
	}
	for _, harmless := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, harmless) {
			return harmless
		}
	}
	var number syscall.Errno
	var lookup *net.DNSError
	var certificate *tls.CertificateVerificationError
	var network net.Error
	switch {
	case errors.As(err, &number):
		return number // Such as "connection refused".
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return errors.New("the host name is not known")
	case errors.As(err, &lookup):
		return errors.New("the host name could not be looked up")
	case errors.As(err, &certificate):
		return errors.New("the certificate is not trusted for this host")
	case errors.As(err, &network) && network.Timeout():
		return errors.New("timed out")
	}
	return errors.New("the connection broke before there was an answer that could be read")
}
