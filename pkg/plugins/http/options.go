// Package http is the plugin that notifies another system about a Node: it sends a JSON document
// to a URL.
package http

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

type options struct {
	// URL to send to.
	URL cleanup.Value `json:"url"`
	// Method is POST, PUT, PATCH or DELETE.
	Method string `json:"method"`
	// Headers are sent beside Content-Type and Idempotency-Key.
	Headers map[string]cleanup.Value `json:"headers"`
	// CABundle holds the CAs in PEM that verify the server's certificate. If it is empty, the
	// system's CAs do.
	CABundle cleanup.Value `json:"caBundle"`
	// AlsoAccept lists further statuses that count as success besides 200 to 299, such as 404 if
	// an unknown node counts as removed.
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
		if _, err := httpclient.ParseURL(o.URL.Literal()); err != nil {
			fault("url", "%v", err)
		}
	}
	if methods := []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}; !slices.Contains(methods, o.Method) {
		fault("method", "must be one of %s, not %q", strings.Join(methods, ", "), o.Method)
	}
	known := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(o.Headers)) {
		value, canonical := o.Headers[name], http.CanonicalHeaderKey(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			fault("headers", "%q is no name of a header", name)
		case slices.Contains(ownHeaders(), canonical):
			fault("headers."+name, "is set by the plugin")
		case known[canonical] != "":
			fault("headers."+name, "is the same header as %s", known[canonical])
		}
		known[canonical] = name
		if problem := value.Problem(); problem != "" {
			fault("headers."+name, "%s", problem)
		} else if strings.ContainsFunc(strings.TrimSpace(value.Literal()), unicode.IsControl) {
			fault("headers."+name, "has a control character in it")
		}
	}
	if _, secret := o.CABundle.SecretKey(); !o.CABundle.Empty() {
		if problem := o.CABundle.Problem(); problem != "" {
			fault("caBundle", "%s", problem)
		} else if _, err := httpclient.ParseBundle(o.CABundle.Literal()); err != nil && !secret {
			fault("caBundle", "%v", err)
		}
	}
	for i, status := range o.AlsoAccept {
		if status < 100 || status > 599 {
			fault(fmt.Sprintf("alsoAccept[%d]", i), "%d is no HTTP status", status)
		}
	}
	return faults
}

// ownHeaders cannot be given: those that net/http takes from elsewhere and would
// ignore, and the key by which the other side knows a repetition.
func ownHeaders() []string {
	return []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection", "Idempotency-Key"}
}

// Descriptor describes the plugin. It sends requests with the given client, but never follows
// redirects to another host.
func Descriptor(client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	return cleanup.Descriptor{
		Name:     "http",
		Summary:  "sends a JSON document about the node to a URL",
		Defaults: cleanup.Policy{Critical: true, Timeout: 30 * time.Second},
		Options:  cleanup.OptionNames[options](),
		Bind: cleanup.Options(options{Method: http.MethodPost}, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, client: httpclient.WithoutRedirects(client), secrets: secrets}, nil
		}),
	}
}
