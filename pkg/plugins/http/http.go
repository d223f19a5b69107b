package http

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

type plugin struct {
	options
	client  *http.Client
	secrets cleanup.Secrets
	trust   httpclient.Trust
}

// document is the request body.
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
	body, err := p.body(target)
	if err != nil {
		return err
	}
	expand := func(template cleanup.Template, escape func(string) string) (string, error) {
		return template.Expand(target, escape)
	}
	return p.send(ctx, body, expand, target.IdempotencyKey, func(answer io.Reader) { p.recordOutputs(answer, target) })
}

// send sends one request. After a success, it calls succeeded with the body of the answer.
func (p *plugin) send(ctx context.Context, body []byte, expand expand, idempotencyKey string, succeeded func(answer io.Reader)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := p.request(ctx, body, expand)
	if err != nil {
		return err
	}
	request.Header.Set("Idempotency-Key", idempotencyKey)
	client, err := p.clientFor(ctx)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("sending %s to %s: %w", p.Method, p.where(), p.conceal(err))
	}
	defer response.Body.Close()
	// The status decides. A body that does not come keeps no step waiting.
	slow := time.AfterFunc(p.bodyTimeout(), cancel)
	defer slow.Stop()
	if err = p.classify(response); err == nil {
		succeeded(response.Body)
	}
	// A connection can be reused for the next Node only if its response was read to the end. Read
	// errors do not matter.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxDiscard))
	return err
}

const (
	// maxDiscard is how much of an answer is read to reach its end, in bytes.
	maxDiscard = 4 << 10
	// discardTimeout is how long the body of an answer is read that nobody needs. One that was sent
	// together with the status needs no more than a round trip.
	discardTimeout = time.Second
	// outputsTimeout is how long the body of an answer with outputs is read.
	outputsTimeout = 10 * time.Second
)

func (p *plugin) bodyTimeout() time.Duration {
	if len(p.Outputs) > 0 {
		return outputsTimeout
	}
	return discardTimeout
}

// expand returns the text of a template for one request.
type expand func(template cleanup.Template, escape func(string) string) (string, error)

func (p *plugin) request(ctx context.Context, body []byte, expand expand) (*http.Request, error) {
	text, err := p.resolve(ctx, p.URL, expand, httpclient.PercentEncode)
	if err != nil {
		return nil, fmt.Errorf("finding the URL: %w", err)
	}
	destination, err := httpclient.ParseURL(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", p.where(), err)
	}
	request, err := http.NewRequestWithContext(ctx, p.Method, destination.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a request to %s: %w", p.where(), p.conceal(err))
	}
	request.Header.Set("Content-Type", cmp.Or(p.ContentType, jsonType))
	request.Header.Set("User-Agent", "nodecleanup")
	for name, value := range p.Headers {
		resolved, err := p.resolve(ctx, value, expand, nil)
		if err != nil {
			return nil, fmt.Errorf("finding the header %s: %w", name, err)
		}
		if strings.ContainsFunc(resolved, unicode.IsControl) {
			// net/http would put the value into its error.
			return nil, fmt.Errorf("finding the header %s: its value has a control character in it", name)
		}
		request.Header.Set(name, resolved)
	}
	return request, nil
}

// body returns the configured body, or the document about the Node.
func (p *plugin) body(target cleanup.Target) ([]byte, error) {
	if !p.Body.Empty() {
		return p.expandBody(func(template cleanup.Template, escape func(string) string) (string, error) {
			return template.Expand(target, escape)
		})
	}
	body, err := encode(target)
	if err != nil {
		return nil, cleanup.Permanent(fmt.Errorf("encoding the document: %w", err))
	}
	return body, nil
}

// resolve returns a value from a Secret as it is, and any other value as the template that it is.
func (p *plugin) resolve(ctx context.Context, value cleanup.Value, expand expand, escape func(string) string) (string, error) {
	if _, secret := value.SecretKey(); secret {
		return httpclient.Resolve(ctx, p.secrets, value)
	}
	template, err := cleanup.NewTemplate(value.Literal())
	if err != nil {
		return "", cleanup.Permanent(err) // Validate has refused it.
	}
	text, err := expand(template, escape)
	return strings.TrimSpace(text), err
}

// clientFor returns the client to send with.
func (p *plugin) clientFor(ctx context.Context) (*http.Client, error) {
	return p.trust.Client(ctx, p.client, p.secrets, httpclient.TLS{CABundle: p.CABundle})
}

// CheckHealth implements cleanup.HealthChecker: the URL and the headers can be found, and the
// destination accepts a connection. It sends no request, because no request is free of effects. If the
// host depends on the Node, it makes no connection.
func (p *plugin) CheckHealth(ctx context.Context) error {
	request, err := p.request(ctx, nil, func(template cleanup.Template, _ func(string) string) (string, error) {
		return httpclient.Sample(template), nil
	})
	if err != nil {
		return err
	}
	if len(hostReferences(p.URL.Literal())) > 0 {
		return nil
	}
	client, err := p.clientFor(ctx)
	if err != nil {
		return err
	}
	return p.dial(ctx, client, request)
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(_ context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	what := "a document about"
	if !p.Body.Empty() {
		what = "the configured body for"
	}
	return []cleanup.Effect{{
		Action: cleanup.Call,
		Object: cleanup.Object{Kind: cleanup.KindURL, Name: p.where()},
		Reason: fmt.Sprintf("%s %s node %s", p.Method, what, target.Node.Name),
	}}, nil
}
