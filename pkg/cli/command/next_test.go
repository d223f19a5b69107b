package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestNext(t *testing.T) {
	nodes := schema.GroupResource{Resource: "nodes"}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"chosen":       {fmt.Errorf("a: %w", &exit.Error{Err: apierrors.NewForbidden(nodes, "n", nil), Next: "do this"}), "do this"},
		"usage":        {exit.Usagef("no"), "--help"},
		"unauthorized": {apierrors.NewUnauthorized("no"), "sign in"},
		"forbidden":    {fmt.Errorf("a: %w", apierrors.NewForbidden(nodes, "n", nil)), "ask a cluster administrator"},
		"timed out":    {context.DeadlineExceeded, "--timeout"},
		"no config":    {errors.New(`Get "http://localhost:8080/api": dial tcp 127.0.0.1:8080: connect: connection refused`), "KUBECONFIG"},
		"unreachable":  {fmt.Errorf("a: %w", &net.OpError{Op: "dial", Err: errors.New("no route to host")}), "cluster-info"},
		"untrusted":    {&url.Error{Op: "Get", URL: "https://x", Err: &tls.CertificateVerificationError{Err: errors.New("x509: unknown")}}, "certificate-authority-data"},
		"unknown":      {errors.New("odd"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Next(test.err); !strings.Contains(got, test.want) || test.want == "" && got != "" {
				t.Errorf("got %q, want something with %q", got, test.want)
			}
		})
	}
}
