package api

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Refused reports whether the API server would say the same again: it answered, and not
// that it cannot answer now, or that another client was faster.
func Refused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError && code != http.StatusTooManyRequests && code != http.StatusConflict
}

// Absent reports whether the API server confirms that the object does not exist. A 404 of a proxy
// is not a confirmation, and neither is a 404 of an admission webhook, which chooses the code of its
// denial.
func Absent(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.IsUnexpectedServerError(err) && FailureOf(err).Kind == ""
}

// Retriable reports whether the API server may accept the same request later: it is unreachable,
// or its response is transient.
func Retriable(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		code := status.Status().Code
		return code >= http.StatusInternalServerError || code == http.StatusTooManyRequests
	}
	var transport *url.Error
	var network net.Error
	return errors.As(err, &transport) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
