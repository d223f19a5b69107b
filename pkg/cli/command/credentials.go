package command

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"

	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubectl/pkg/util/term"
)

// CredentialError is the failure of the credential plugin that a kubeconfig names.
type CredentialError struct {
	plugin *clientcmdapi.ExecConfig
	err    error
}

func (e *CredentialError) Error() string { return e.err.Error() }

// Unwrap returns what client-go says.
func (e *CredentialError) Unwrap() error { return e.err }

// Next returns what an operator can do about it.
func (e *CredentialError) Next() string {
	_, missing := exec.LookPath(e.plugin.Command)
	switch {
	case missing != nil:
		return strings.TrimSpace(fmt.Sprintf("The kubeconfig runs %s to get credentials, but it is not on the PATH: install it. %s", e.plugin.Command, e.plugin.InstallHint))
	case e.plugin.InteractiveMode == clientcmdapi.AlwaysExecInteractiveMode && !(term.TTY{In: os.Stdin}).IsTerminalIn():
		return fmt.Sprintf("The kubeconfig runs %s to get credentials, which needs a terminal (interactiveMode: Always): use a terminal, or a kubeconfig with other credentials.", e.plugin.Command)
	}
	return fmt.Sprintf("The kubeconfig runs %s to get credentials, and it failed: find its arguments with `kubectl config view --minify`, and run it yourself.", e.plugin.Command)
}

// sentKey is the key of a flag in the context of a request. The flag is true after the request was sent with
// credentials.
type sentKey struct{}

// markSent wraps the transport below client-go's credential plugins.
func markSent(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if sent, is := request.Context().Value(sentKey{}).(*atomic.Bool); is {
			sent.Store(true)
		}
		return next.RoundTrip(request)
	})
}

// httpClient returns the client for a config. It returns errors of a credential plugin as CredentialErrors,
// because client-go returns untyped errors.
func httpClient(config *rest.Config) (*http.Client, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil || config.ExecProvider == nil {
		return client, err
	}
	next := client.Transport
	client.Transport = roundTripper(func(request *http.Request) (*http.Response, error) {
		sent := &atomic.Bool{}
		response, err := next.RoundTrip(request.WithContext(context.WithValue(request.Context(), sentKey{}, sent)))
		if err != nil && !sent.Load() && request.Context().Err() == nil {
			err = &CredentialError{config.ExecProvider, err}
		}
		return response, err
	})
	return client, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }
