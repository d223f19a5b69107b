// Package http is the plugin that tells another system about a Node: it sends a
// JSON document to a URL.
package http

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type options struct {
	// URL to send to.
	URL cleanup.Value `json:"url"`
	// Method is POST, PUT, PATCH or DELETE.
	Method string `json:"method"`
	// Headers are sent beside Content-Type and Idempotency-Key.
	Headers map[string]cleanup.Value `json:"headers"`
	// AlsoAccept lists statuses that count as success beside 200 to 299, such as
	// 404 where a node that is not known any more is as good as one that was removed.
	AlsoAccept []int `json:"alsoAccept"`
}

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if problem := o.URL.Problem(); problem != "" {
		fault("url", "%s", problem)
	} else if _, secret := o.URL.SecretKey(); !secret {
		if _, err := parseURL(o.URL.Literal()); err != nil {
			fault("url", "%v", err)
		}
	}
	if methods := []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}; !slices.Contains(methods, o.Method) {
		fault("method", "must be one of %s, not %q", strings.Join(methods, ", "), o.Method)
	}
	for name, value := range o.Headers {
		if !httpguts.ValidHeaderFieldName(name) {
			fault("headers", "%q is no name of a header", name)
		}
		if problem := value.Problem(); problem != "" {
			fault("headers."+name, "%s", problem)
		}
	}
	for i, status := range o.AlsoAccept {
		if status < 100 || status > 599 {
			fault(fmt.Sprintf("alsoAccept[%d]", i), "%d is no HTTP status", status)
		}
	}
	return faults
}

// parseURL refuses what is no absolute http or https URL. Its error holds
// nothing of the URL, which may be a secret.
func parseURL(text string) (*url.URL, error) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, fmt.Errorf("is no URL that begins with http:// or https://")
	}
	return parsed, nil
}

// Descriptor describes the plugin. The client carries the connections; redirects
// to another host are never followed, whatever it says.
func Descriptor(client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	return cleanup.Descriptor{
		Name:     "http",
		Summary:  "sends a JSON document about the node to a URL",
		Defaults: cleanup.Policy{Critical: true, Timeout: 30 * time.Second},
		Bind: cleanup.Options(options{Method: http.MethodPost}, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, client: withoutRedirects(client), secrets: secrets}, nil
		}),
	}
}
