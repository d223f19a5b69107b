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

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cli/exit"
)

func TestNext(t *testing.T) {
	nodes := schema.GroupResource{Resource: "nodes"}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"explicit next step": {fmt.Errorf("a: %w", &exit.Error{Err: apierrors.NewForbidden(nodes, "n", nil), Next: "do this"}), "do this"},
		"usage":              {exit.Usagef("no"), "--help"},
		"unauthorized":       {apierrors.NewUnauthorized("no"), "sign in"},
		"forbidden":          {fmt.Errorf("a: %w", apierrors.NewForbidden(nodes, "n", nil)), "ask a cluster administrator"},
		"timed out":          {context.DeadlineExceeded, "--timeout"},
		"no config":          {errors.New(`Get "http://localhost:8080/api": dial tcp 127.0.0.1:8080: connect: connection refused`), "KUBECONFIG"},
		"unreachable":        {fmt.Errorf("a: %w", &net.OpError{Op: "dial", Err: errors.New("no route to host")}), "cluster-info"},
		"untrusted":          {&url.Error{Op: "Get", URL: "https://x", Err: &tls.CertificateVerificationError{Err: errors.New("x509: unknown")}}, "certificate-authority-data"},
		"unknown":            {errors.New("odd"), ""},
		"webhook down":       {apierrors.NewInternalError(errors.New(`failed calling webhook "n.example.com": failed to call webhook: Post "https://x": dial tcp: connect: connection refused`)), "Fix the service behind admission webhook n.example.com"},
		"webhook denies":     {&apierrors.StatusError{ErrStatus: metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: `admission webhook "n.example.com" denied the request: no`}}, "Ask the owner of admission webhook n.example.com"},
		"policy":             {apierrors.NewForbidden(nodes, "n", errors.New("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no")), "kubectl describe validatingadmissionpolicy p."},
		"etcd is away":       {apierrors.NewInternalError(errors.New("dial tcp 10.0.0.1:2379: connect: connection refused")), "readyz"},
		"API is down":        {apierrors.NewServiceUnavailable("the server is currently unable to handle the request"), "kubectl get apiservices"},
		"overloaded":         {apierrors.NewTooManyRequests("later", 1), "run it again"},
		"terminating":        {&apierrors.StatusError{ErrStatus: metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}}}}, "Wait until the namespace is deleted"},
		"credentials":        {&url.Error{Op: "Get", URL: "https://x", Err: &CredentialError{&clientcmdapi.ExecConfig{Command: "no-such-plugin", InstallHint: "brew install it"}, errors.New("exec: executable not found")}}, "runs no-such-plugin to get credentials, but it is not on the PATH: install it. brew install it"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Next(test.err); !strings.Contains(got, test.want) || test.want == "" && got != "" {
				t.Errorf("got %q, want something with %q", got, test.want)
			}
		})
	}
}
