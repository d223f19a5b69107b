package command

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

// Next returns what an operator can do about an error, empty when nothing
// better is known than the error itself.
func Next(err error) string {
	var chosen *exit.Error
	if errors.As(err, &chosen) && chosen.Next != "" {
		return chosen.Next
	}
	var network net.Error
	var untrusted *tls.CertificateVerificationError
	switch {
	case chosen != nil && chosen.Code == exit.Usage:
		return "See the same command with --help."
	case apierrors.IsUnauthorized(err):
		return "The API server does not know you: check the user of this context with `kubectl config view --minify`, and sign in again."
	case apierrors.IsForbidden(err):
		return "You lack the right that the message names: ask a cluster administrator for it, or use --as or --context to be somebody who has it."
	case errors.Is(err, context.DeadlineExceeded):
		return "Run it again, with a longer --timeout if it needs more time: it goes on where it stopped."
	case errors.As(err, &untrusted):
		return "What answers there has a certificate that your kubeconfig does not trust: check server and certificate-authority-data of this context " +
			"with `kubectl config view --minify`, and whether something else answers in the API server's place."
	// localhost:8080 is where client-go looks when it was told nothing.
	case errors.Is(err, fs.ErrNotExist), strings.Contains(err.Error(), "http://localhost:8080/"):
		return "Say which cluster you mean by --kubeconfig FILE or KUBECONFIG."
	case errors.As(err, &network), strings.Contains(err.Error(), "connection refused"):
		return "The API server cannot be reached: check it with `kubectl cluster-info`, and the context with `kubectl config current-context`."
	}
	return ""
}
