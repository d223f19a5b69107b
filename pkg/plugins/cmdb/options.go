// Package cmdb is the plugin that changes or deletes the record of a Node in an inventory with an HTTP API.
package cmdb

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
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
	// URL is the root of the API, such as `https://cmdb.example.com/api`. `lookup.path` and `change.path` are appended.
	URL string `json:"url" jsonschema:"required"`
	// Headers are headers of each request: name to value, or in a Secret, such as Authorization.
	Headers map[string]cleanup.Value `json:"headers"`
	// CABundle is the CAs in PEM that verify the server's certificate. Without it, the CAs of the system verify it.
	CABundle cleanup.Value `json:"caBundle"`
	// Lookup is the GET request that finds the record.
	Lookup lookupOptions `json:"lookup" jsonschema:"required"`
	// Change is the request that changes or deletes the record.
	Change changeOptions `json:"change" jsonschema:"required"`
	// MustExist makes the step fail if there is no record. Otherwise, the step is done then.
	MustExist bool `json:"mustExist" jsonschema:"default=false"`
}

type lookupOptions struct {
	// Path is the path with the query, as a template. The values of references are percent-encoded.
	Path cleanup.Template `json:"path" jsonschema:"required"`
	// Results is the JSON pointer (RFC 6901) to the list of records in the response, such as `/results`. Without it, the
	// response itself is the list, or the one record.
	Results string `json:"results"`
	// Match are the values that the record must have: JSON pointer in the record to template, such as `/name` to
	// `${node.name}`. Other records are ignored, because many APIs return all records if they do not know a filter.
	Match map[string]cleanup.Template `json:"match" jsonschema:"required"`
	// ID is the JSON pointer to the ID in the record.
	ID string `json:"id" jsonschema:"default=/id"`
}

type changeOptions struct {
	// Method is the HTTP method.
	Method string `json:"method" jsonschema:"enum=PATCH,enum=PUT,enum=POST,enum=DELETE,default=PATCH"`
	// Path is the path, as a template. `{id}` stands for the ID of the record.
	Path cleanup.Template `json:"path" jsonschema:"required"`
	// Body is the JSON document to send, as a template. The values of references are escaped for JSON, so put them
	// between quotes.
	Body cleanup.Template `json:"body"`
}

const (
	defaultID     = "/id"
	idPlaceholder = "{id}"
)

// Validate implements cleanup.Validator. It completes the defaults of the nested options.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if parsed, err := httpclient.ParseURL(o.URL); err != nil {
		fault("url", "%v", err)
	} else if parsed.User != nil || parsed.RawQuery != "" {
		fault("url", "must have no user and no query: put credentials into headers")
	}
	known := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(o.Headers)) {
		value, canonical := o.Headers[name], http.CanonicalHeaderKey(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			fault("headers", "%q is not a valid header name", name)
		case slices.Contains([]string{"Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Trailer", "Connection"}, canonical):
			fault("headers."+name, "is set by the plugin")
		case known[canonical] != "":
			fault("headers."+name, "is the same header as %s", known[canonical])
		case value.Problem() != "":
			fault("headers."+name, "%s", value.Problem())
		case strings.ContainsFunc(value.Literal(), unicode.IsControl):
			fault("headers."+name, "has a control character in it")
		case strings.Contains(value.Literal(), "${"):
			fault("headers."+name, "cannot contain references")
		}
		known[canonical] = name
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", "%s", problem)
	}
	o.Lookup.validate(func(path, format string, arguments ...any) { fault("lookup."+path, format, arguments...) })
	o.Change.validate(func(path, format string, arguments ...any) { fault("change."+path, format, arguments...) })
	return faults
}

func (o *lookupOptions) validate(fault func(path, format string, arguments ...any)) {
	if problem := pathProblem(o.Path); problem != "" {
		fault("path", "%s", problem)
	}
	if problem := pointerProblem(o.Results); problem != "" {
		fault("results", "%s", problem)
	}
	if len(o.Match) == 0 {
		fault("match", "must name at least one value, so that no other record is changed")
	}
	for _, pointer := range slices.Sorted(maps.Keys(o.Match)) {
		path, template := fmt.Sprintf("match[%q]", pointer), o.Match[pointer]
		switch {
		case pointerProblem(pointer) != "":
			fault(path, "%s", pointerProblem(pointer))
		case template.Problem() != "":
			fault(path, "%s", template.Problem())
		case template.Empty():
			fault(path, "must not be empty")
		}
	}
	if o.ID == "" {
		o.ID = defaultID
	}
	if problem := pointerProblem(o.ID); problem != "" {
		fault("id", "%s", problem)
	}
}

func (o *changeOptions) validate(fault func(path, format string, arguments ...any)) {
	if o.Method == "" {
		o.Method = http.MethodPatch
	}
	if methods := []string{http.MethodPatch, http.MethodPut, http.MethodPost, http.MethodDelete}; !slices.Contains(methods, o.Method) {
		fault("method", "must be one of %s, not %q", strings.Join(methods, ", "), o.Method)
	}
	if problem := pathProblem(o.Path); problem != "" {
		fault("path", "%s", problem)
	} else if !strings.Contains(httpclient.Sample(o.Path), idPlaceholder) {
		fault("path", "must contain %s, the ID of the record", idPlaceholder)
	}
	switch {
	case o.Body.Problem() != "":
		fault("body", "%s", o.Body.Problem())
	case o.Body.Empty() && o.Method != http.MethodDelete:
		fault("body", "is required for %s", o.Method)
	case !o.Body.Empty() && !json.Valid([]byte(httpclient.Sample(o.Body))):
		fault("body", "is not valid JSON")
	}
}

// pathProblem returns the fault of a path, or "".
func pathProblem(path cleanup.Template) string {
	if problem := path.Problem(); problem != "" {
		return problem
	}
	if path.Empty() {
		return "must not be empty"
	}
	if parsed, err := url.Parse(httpclient.Sample(path)); err != nil || parsed.IsAbs() || parsed.Host != "" || parsed.Fragment != "" {
		return "must be a path below url"
	}
	return ""
}

// Descriptor describes the plugin. It sends requests with the given client, but follows no redirects.
func Descriptor(client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	defaults := options{}
	return cleanup.Descriptor{
		Name:           "cmdb",
		Summary:        "finds the record of the node in an inventory, and changes or deletes it",
		Defaults:       cleanup.Policy{Critical: false, Timeout: 30 * time.Second},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, api: newAPI(o, client, secrets)}, nil
		}),
	}
}
