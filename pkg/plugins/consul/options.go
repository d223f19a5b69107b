// Package consul is the plugin that removes a Node from a Consul cluster and its catalog.
package consul

import (
	_ "embed"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

//go:embed schema.json
var schema []byte

type options struct {
	// URL is the root of the HTTP API of a Consul agent in the datacenter of the node, such as
	// `https://consul.example.com:8501`, without `/v1`.
	URL string `json:"url" jsonschema:"required"`
	// Token is an ACL token, in a Secret. Without it, requests have no token.
	Token cleanup.Value `json:"token"`
	// CABundle is the CAs in PEM that verify the server's certificate. Without it, the CAs of the system verify it.
	CABundle cleanup.Value `json:"caBundle"`
	// Node is the name of the node in Consul, as a template.
	Node cleanup.Template `json:"node"`
	// ForceLeave also removes a failed node from the cluster, so that Consul does not put it back into the catalog.
	// Without it, Consul keeps a failed node for 72 hours by default.
	ForceLeave bool `json:"forceLeave"`
}

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if parsed, err := httpclient.ParseURL(o.URL); err != nil {
		fault("url", "%v", err)
	} else if parsed.User != nil || parsed.RawQuery != "" || strings.Contains(parsed.Path+"/", "/v1/") {
		fault("url", "must be the root of Consul, without /v1, a user and a query")
	}
	if problem := httpclient.SecretProblem(o.Token); problem != "" {
		fault("token", "%s", problem)
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", "%s", problem)
	}
	if problem := o.Node.Problem(); problem != "" {
		fault("node", "%s", problem)
	} else if o.Node.Empty() {
		fault("node", "must not be empty")
	}
	return faults
}

// Descriptor describes the plugin. It sends requests with the given client, but follows no redirects.
func Descriptor(client *http.Client, secrets cleanup.Secrets, clock clock.WithTicker) cleanup.Descriptor {
	defaults := options{Node: cleanup.MustTemplate("${node.name}"), ForceLeave: true}
	return cleanup.Descriptor{
		Name:           "consul",
		Summary:        "removes the node from Consul, after its agent has stopped",
		Defaults:       cleanup.Policy{Critical: false, Timeout: 10 * time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, api: newAPI(o, client, secrets), clock: clock}, nil
		}),
	}
}
