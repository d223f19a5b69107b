package command

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// Next returns what an operator can do about an error, empty when nothing
// better is known than the error itself. It is based on
// the types of errors: an answer of the API
// server proves that it was reached.
func Next(err error) string {
	var chosen *exit.Error
	if errors.As(err, &chosen) && chosen.Next != "" {
		return chosen.Next
	}
	var network net.Error
	var untrusted *tls.CertificateVerificationError
	var credentials *CredentialError
	var answer apierrors.APIStatus
	switch {
	case chosen != nil && chosen.Code == exit.Usage:
		return "See the same command with --help."
	case api.FailureOf(err).Kind != "":
		return sentence(api.FailureOf(err).Remedy())
	case apierrors.IsUnauthorized(err):
		return "Not authenticated (401): check the user of this context with `kubectl config view --minify`, and sign in again."
	case apierrors.IsForbidden(err):
		return "Permission denied: ask a cluster administrator for the right that the message names, or use --as or --context."
	case errors.As(err, &answer):
		return nextAfter(answer.Status().Code)
	case errors.As(err, &credentials):
		return credentials.Next()
	case errors.Is(err, context.Canceled):
		return "" // An operator interrupted it. That a request did not end says nothing about the API server.
	case errors.Is(err, context.DeadlineExceeded):
		return "Run the command again with a longer --timeout."
	case errors.As(err, &untrusted):
		return "The kubeconfig does not trust the server's certificate: check server and certificate-authority-data of this context " +
			"with `kubectl config view --minify`, and whether a proxy answers instead of the API server."
	// localhost:8080 is where client-go looks without a kubeconfig.
	case errors.Is(err, fs.ErrNotExist), strings.Contains(err.Error(), "http://localhost:8080/"):
		return "Choose the cluster: set --kubeconfig FILE or KUBECONFIG."
	case errors.As(err, &network):
		return "The API server cannot be reached: check it with `kubectl cluster-info`, and the context with `kubectl config current-context`."
	}
	return ""
}

// nextAfter returns what to do about an answer of the API server that names no cause.
func nextAfter(code int32) string {
	switch {
	case code == http.StatusServiceUnavailable:
		return "The API server answered 503, so the API for this request is down. See which one: kubectl get apiservices"
	case code == http.StatusTooManyRequests:
		return "The API server is overloaded (429): run it again later."
	case code >= http.StatusInternalServerError:
		return "The API server answered with an internal error. Check its health: kubectl get --raw '/readyz?verbose'. Then run it again."
	}
	return ""
}

// sentence returns a clause with a capital letter and a full stop.
func sentence(clause string) string {
	first, size := utf8.DecodeRuneInString(clause)
	return string(unicode.ToUpper(first)) + clause[size:] + "."
}
