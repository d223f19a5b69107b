// Package httpclient has what the plugins that send HTTP requests have in common: which URLs and
// certificates they accept, how they read secrets, and which parts of errors and responses they show.
package httpclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// ParseURL accepts only absolute http and https URLs. Its error contains no part of the URL, which
// may be a secret.
func ParseURL(text string) (*url.URL, error) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, errors.New("is not a URL that starts with http:// or https://")
	}
	return parsed, nil
}

// Resolve returns a value without the newline that files and editors end with. An empty value in a
// Secret is an error.
func Resolve(ctx context.Context, secrets cleanup.Secrets, value cleanup.Value) (string, error) {
	text, err := value.Resolve(ctx, secrets)
	if err != nil {
		return "", err
	}
	text = strings.TrimSpace(text)
	if key, secret := value.SecretKey(); secret && text == "" {
		return "", fmt.Errorf("key %s of secret %s is empty", key.Key, key.Name)
	}
	return text, nil
}

// WithoutRedirects returns a client that takes a redirect for the answer: a
// credential must not travel on, and a document that was sent by POST would
// arrive as a GET.
func WithoutRedirects(client *http.Client) *http.Client {
	if client == nil {
		client = &http.Client{}
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// Offline is the transport of a program that calls no other system, such as the CLI when it previews.
type Offline struct{}

// RoundTrip implements http.RoundTripper.
func (Offline) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("this program calls no other system")
}

// IsOffline reports whether requests of the client are never sent.
func IsOffline(client *http.Client) bool {
	_, offline := client.Transport.(Offline)
	return offline
}
