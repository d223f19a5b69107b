// Package inventory is an example of a plugin: it marks the machine of a Node as retired in an inventory with
// a REST API.
package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

const retired = "retired"

// options are the options of a step. Decoding is strict: an unknown option is an error.
type options struct {
	// URL is the base URL of the inventory, such as https://inventory.example.com/api.
	URL string `json:"url"`
	// Token is the bearer token, which is read from a Secret.
	Token cleanup.Value `json:"token"`
}

// Validate implements cleanup.Validator.
func (o options) Validate() []error {
	var faults []error
	if _, err := httpclient.ParseURL(o.URL); err != nil {
		faults = append(faults, cleanup.OptionError{Path: "url", Problem: err.Error()})
	}
	if problem := o.Token.Problem(); problem != "" {
		faults = append(faults, cleanup.OptionError{Path: "token", Problem: problem})
	}
	return faults
}

// Descriptor describes the plugin to the catalog.
func Descriptor(client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	return cleanup.Descriptor{
		Name:     "inventory",
		Summary:  "marks the machine of the node as retired in the inventory",
		Defaults: cleanup.Policy{Critical: true, Timeout: 30 * time.Second},
		Options:  cleanup.OptionNames[options](),
		Bind: cleanup.Options(options{}, func(o options) (cleanup.Plugin, error) {
			return &plugin{o, client, secrets}, nil
		}),
	}
}

type plugin struct {
	options
	client  *http.Client
	secrets cleanup.Secrets
}

type machine struct {
	State string `json:"state"`
}

// Cleanup implements cleanup.Plugin. It is idempotent: marking a machine twice is not an error.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	_, err := p.call(ctx, http.MethodPatch, p.path(target), machine{State: retired}, nil)
	return err // If the inventory does not know the machine, there is nothing to do.
}

// Verify implements cleanup.Verifier: before the agent releases the Node, it asks whether the machine is still
// retired.
func (p *plugin) Verify(ctx context.Context, target cleanup.Target) (undone string, err error) {
	var current machine
	found, err := p.call(ctx, http.MethodGet, p.path(target), nil, &current)
	if err != nil || !found || current.State == retired {
		return "", err
	}
	return fmt.Sprintf("the state of the machine is %q", current.State), nil
}

// CheckHealth implements cleanup.HealthChecker: it checks that the inventory accepts the token. It changes
// nothing.
func (p *plugin) CheckHealth(ctx context.Context) error {
	found, err := p.call(ctx, http.MethodGet, "/machines?limit=1", nil, nil)
	if err == nil && !found {
		err = errors.New("option url is not the URL of an inventory: it answers 404 for /machines")
	}
	return err
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(_ context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	return []cleanup.Effect{{Action: "Retire", Object: cleanup.Object{Kind: "Machine", Name: target.Node.Name}}}, nil
}

func (p *plugin) path(target cleanup.Target) string {
	return "/machines/" + url.PathEscape(target.Node.Name)
}

// call sends a request and decodes the answer. It returns false for the status 404.
func (p *plugin) call(ctx context.Context, method, path string, body, answer any) (found bool, err error) {
	token, err := httpclient.Resolve(ctx, p.secrets, p.Token)
	if err != nil {
		return false, fmt.Errorf("reading the token: %w", err)
	}
	var data []byte // A GET has no body.
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			return false, cleanup.Permanent(err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, p.URL+path, bytes.NewReader(data))
	if err != nil {
		return false, cleanup.Permanent(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := httpclient.WithoutRedirects(p.client).Do(request)
	if err != nil {
		return false, httpclient.Conceal(err, true) // The request has the token, and net/http quotes malformed responses.
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotFound:
		return false, nil
	case response.StatusCode/100 != 2:
		// Classify reads the status and Retry-After, and decides whether a retry can succeed.
		return false, httpclient.Classify(fmt.Errorf("the inventory answers %s", httpclient.Status(response)), response)
	case answer != nil:
		return true, json.NewDecoder(http.MaxBytesReader(nil, response.Body, 1<<20)).Decode(answer)
	}
	return true, nil
}
