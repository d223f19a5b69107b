package httpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"syscall"
)

// Conceal removes possible secrets from an error of net/http. It always removes the URL. If the
// request contained a secret, it keeps only the kind of the error, because wrapped errors name the host
// and quote malformed responses.
func Conceal(err error, secret bool) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if !secret {
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
	return errors.New("the connection was closed before a complete answer arrived")
}
