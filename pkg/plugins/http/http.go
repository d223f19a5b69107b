package http

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type plugin struct {
	options
	client  *http.Client
	secrets cleanup.Secrets
}

// document is what is sent.
type document struct {
	APIVersion     string       `json:"apiVersion"`
	Kind           string       `json:"kind"`
	Node           documentNode `json:"node"`
	Attempt        int          `json:"attempt"`
	IdempotencyKey string       `json:"idempotencyKey"`
}

type documentNode struct {
	Name       string               `json:"name"`
	UID        types.UID            `json:"uid"`
	ProviderID string               `json:"providerID,omitempty"`
	Labels     map[string]string    `json:"labels,omitempty"`
	Addresses  []corev1.NodeAddress `json:"addresses,omitempty"`
}

func encode(target cleanup.Target) ([]byte, error) {
	return json.Marshal(document{
		APIVersion: "nodecleanup.io/v1alpha1",
		Kind:       "NodeCleanup",
		Node: documentNode{
			Name: target.Node.Name, UID: target.Node.UID, ProviderID: target.Node.Spec.ProviderID,
			Labels: target.Node.Labels, Addresses: target.Node.Status.Addresses,
		},
		Attempt:        target.Attempt,
		IdempotencyKey: target.IdempotencyKey,
	})
}

// Cleanup implements cleanup.Plugin.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	request, err := p.request(ctx, target)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("sending %s to %s: %w", p.Method, p.where(), withoutURL(err))
	}
	defer response.Body.Close()
	return p.judge(response)
}

func (p *plugin) request(ctx context.Context, target cleanup.Target) (*http.Request, error) {
	text, err := p.URL.Resolve(ctx, p.secrets)
	if err != nil {
		return nil, fmt.Errorf("finding the URL: %w", err)
	}
	destination, err := parseURL(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("%s %w", p.where(), err)
	}
	body, err := encode(target)
	if err != nil {
		return nil, cleanup.Permanent(fmt.Errorf("encoding the document: %w", err))
	}
	request, err := http.NewRequestWithContext(ctx, p.Method, destination.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a request to %s: %w", p.where(), withoutURL(err))
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "nodecleanup")
	request.Header.Set("Idempotency-Key", target.IdempotencyKey)
	for name, value := range p.Headers {
		resolved, err := value.Resolve(ctx, p.secrets)
		if err != nil {
			return nil, fmt.Errorf("finding the header %s: %w", name, err)
		}
		resolved = strings.TrimSpace(resolved)
		if strings.ContainsFunc(resolved, unicode.IsControl) {
			// net/http would put the value into its error.
			return nil, fmt.Errorf("finding the header %s: its value has a control character in it", name)
		}
		request.Header.Set(name, resolved)
	}
	return request, nil
}

// judge decides what an answer means: done, try again, or never.
func (p *plugin) judge(response *http.Response) error {
	if response.StatusCode/100 == 2 || slices.Contains(p.AlsoAccept, response.StatusCode) {
		return nil
	}
	err := fmt.Errorf("sending %s to %s: the answer is %s", p.Method, p.where(), strings.TrimSpace(response.Status))
	if said := excerpt(response.Body); said != "" && !p.secret() {
		err = fmt.Errorf("%w: %s", err, said)
	}
	switch code := response.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		if after, said := retryAfter(response.Header.Get("Retry-After"), time.Now()); said {
			return cleanup.RetryAfter(err, after)
		}
		return err
	}
	return cleanup.Permanent(err)
}

// where names the destination without what may be secret in it: host only for
// a URL that is written out, and the place of the Secret for one that is not.
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

// withoutURL takes the URL out of net/http's error, which names it in full. Of
// what is below, a failed look-up still names the host.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

const maxExcerpt = 256

// excerpt returns the beginning of an answer in one line of printable text.
func excerpt(body io.Reader) string {
	data, _ := io.ReadAll(io.LimitReader(body, maxExcerpt)) // What came until an error is as good an excerpt.
	text := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, string(data))
	return strings.Join(strings.Fields(text), " ")
}

// retryAfter reads the header of that name: seconds, or a time (RFC 9110, 10.2.3).
func retryAfter(header string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}

// withoutRedirects returns a client that takes a redirect for the answer: a
// credential must not travel on, and a document that was sent by POST would
// arrive as a GET.
func withoutRedirects(client *http.Client) *http.Client {
	if client == nil {
		client = &http.Client{}
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// CheckHealth implements cleanup.HealthChecker: the URL and the headers can be
// found. It does not call the other side, which has no call without an effect.
func (p *plugin) CheckHealth(ctx context.Context) error {
	_, err := p.request(ctx, cleanup.Target{Node: &corev1.Node{}})
	return err
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(_ context.Context, target cleanup.Target) ([]string, error) {
	return []string{fmt.Sprintf("%s a document about node %s to %s", p.Method, target.Node.Name, p.where())}, nil
}
