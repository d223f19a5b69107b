// Package http is the plugin that notifies another system about a Node: it sends a JSON document
// to a URL.
package http

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

//go:embed schema.json
var schema []byte

type options struct {
	// URL is an http or https URL, as a template, or in a Secret. The values of references are
	// percent-encoded. The host can refer to `${node.name}` only.
	URL cleanup.Value `json:"url" jsonschema:"required"`
	// Method is the HTTP method.
	Method string `json:"method" jsonschema:"enum=POST,enum=PUT,enum=PATCH,enum=DELETE"`
	// Headers are further headers: name to value, as a template, or in a Secret. You cannot set Host,
	// Connection, Idempotency-Key, Content-Length, Transfer-Encoding and Trailer.
	Headers map[string]cleanup.Value `json:"headers"`
	// Body replaces the JSON document about the Node or the notification. The values of references are escaped for JSON,
	// XML or a form, by `contentType`.
	Body cleanup.Template `json:"body"`
	// ContentType is the media type of `body`.
	ContentType string `json:"contentType" jsonschema:"default=application/json"`
	// CABundle is the CAs in PEM that verify the server's certificate. Without it, the CAs of the
	// system verify it.
	CABundle cleanup.Value `json:"caBundle"`
	// AlsoAccept are statuses that count as success in addition to 200 to 299, such as 404 if an
	// unknown Node counts as removed.
	AlsoAccept []int `json:"alsoAccept" jsonschema:"minimum=100,maximum=599"`
	// ExpectStatus are the only statuses that count as success, such as 202. It cannot be combined
	// with `alsoAccept`.
	ExpectStatus []int `json:"expectStatus" jsonschema:"minimum=100,maximum=599"`
	// Outputs are the outputs to read from the JSON of the response: name to JSONPath, such as
	// `{.result.number}`. A notification can have one, `reference`: with it, the next message about the same
	// Nodes has the value as `${notification.reference}`.
	Outputs map[string]string `json:"outputs"`
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
		if err := checkURL(o.URL.Literal()); err != nil {
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
			fault("headers", "%q is not a valid header name", name)
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
		} else if _, err := cleanup.NewTemplate(value.Literal()); err != nil {
			fault("headers."+name, "%v", err)
		}
	}
	if problem := o.bodyProblem(); problem != "" {
		fault("body", "%s", problem)
	}
	if o.Body.Empty() && o.ContentType != "" {
		fault("contentType", "needs body")
	} else if _, _, err := mime.ParseMediaType(cmp.Or(o.ContentType, jsonType)); err != nil {
		fault("contentType", "%q is not a valid media type: %v", o.ContentType, err)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Outputs)) {
		if err := cleanup.CheckOutput(name, ""); err != nil {
			fault("outputs", "%v", err)
		}
		if _, err := parsePath(name, o.Outputs[name]); err != nil {
			fault("outputs."+name, "%v", err)
		}
	}
	if len(o.Outputs) > cleanup.MaxOutputs {
		fault("outputs", "has %d names, the maximum is %d", len(o.Outputs), cleanup.MaxOutputs)
	}
	if len(o.AlsoAccept) > 0 && len(o.ExpectStatus) > 0 {
		fault("expectStatus", "cannot be combined with alsoAccept")
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", "%s", problem)
	}
	for option, statuses := range map[string][]int{"alsoAccept": o.AlsoAccept, "expectStatus": o.ExpectStatus} {
		for i, status := range statuses {
			if status < 100 || status > 599 {
				fault(fmt.Sprintf("%s[%d]", option, i), "%d is not an HTTP status code", status)
			}
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
	defaults := options{Method: http.MethodPost}
	return cleanup.Descriptor{
		Name:           "http",
		Summary:        "sends an HTTP request about the node, or a notification",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 30 * time.Second},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, client: httpclient.WithoutRedirects(client), secrets: secrets}, nil
		}),
		BindNotifier: cleanup.NotifierOptions(notifierOptions{defaults}, func(o notifierOptions) (cleanup.Notifier, error) {
			return &notifier{&plugin{options: o.options, client: httpclient.WithoutRedirects(client), secrets: secrets}}, nil
		}),
	}
}
