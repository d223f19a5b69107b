// Package dns is the plugin that removes the DNS records of a Node, by dynamic updates (RFC 2136) or by the HTTP API of
// PowerDNS.
package dns

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

//go:embed schema.json
var schema []byte

type options struct {
	// Zone is the zone with the records of the Node, such as `nodes.example.com`.
	Zone string `json:"zone" jsonschema:"required"`
	// Name is the name of the records, as a template: one label, to which the zone is appended, or a complete name
	// below the zone.
	Name cleanup.Template `json:"name"`
	// ReverseZones are zones with the PTR records of the addresses of the Node, such as `10.in-addr.arpa`. Without
	// them, the step removes no PTR records.
	ReverseZones []string `json:"reverseZones"`
	// RFC2136 sends dynamic updates, which most DNS servers accept, such as BIND, Knot DNS and PowerDNS. Set either it
	// or `powerDNS`.
	RFC2136 *updateOptions `json:"rfc2136"`
	// PowerDNS calls the HTTP API of the PowerDNS Authoritative Server.
	PowerDNS *powerDNSOptions `json:"powerDNS"`
}

type updateOptions struct {
	// Server is the primary server of the zones, as HOST or HOST:PORT. The plugin connects to it by TCP.
	Server string `json:"server" jsonschema:"required"`
	// KeyName is the name of the TSIG key.
	KeyName string `json:"keyName" jsonschema:"required"`
	// KeySecret is the secret of the TSIG key in Base64, in a Secret.
	KeySecret cleanup.Value `json:"keySecret" jsonschema:"required"`
	// Algorithm is the algorithm of the TSIG key.
	Algorithm string `json:"algorithm" jsonschema:"enum=hmac-sha1,enum=hmac-sha224,enum=hmac-sha256,enum=hmac-sha384,enum=hmac-sha512,default=hmac-sha256"`
}

type powerDNSOptions struct {
	// URL is the root of the web server of PowerDNS, such as `https://pdns.example.com:8081`, without `/api`.
	URL string `json:"url" jsonschema:"required"`
	// APIKey is the API key, in a Secret.
	APIKey cleanup.Value `json:"apiKey" jsonschema:"required"`
	// ServerID is the name of the server in the API.
	ServerID string `json:"serverID" jsonschema:"default=localhost"`
	// CABundle is the CAs in PEM that verify the server's certificate. Without it, the CAs of the system verify it.
	CABundle cleanup.Value `json:"caBundle"`
}

const (
	defaultAlgorithm = "hmac-sha256"
	defaultServerID  = "localhost"
	defaultPort      = "53"
)

// Validate implements cleanup.Validator. It completes the names of zones, and the defaults of the nested options.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	zone, err := absolute(o.Zone)
	if err != nil {
		fault("zone", "%v", err)
	}
	o.Zone = zone
	if problem := o.Name.Problem(); problem != "" {
		fault("name", "%s", problem)
	} else if o.Name.Empty() {
		fault("name", "must not be empty")
	}
	for i, reverse := range o.ReverseZones {
		path := fmt.Sprintf("reverseZones[%d]", i)
		zone, err := absolute(reverse)
		if err != nil {
			fault(path, "%v", err)
		} else if !inside(zone, "in-addr.arpa.") && !inside(zone, "ip6.arpa.") {
			fault(path, "must be below in-addr.arpa or ip6.arpa")
		}
		o.ReverseZones[i] = zone
	}
	switch {
	case (o.RFC2136 == nil) == (o.PowerDNS == nil):
		fault("rfc2136", "set either rfc2136 or powerDNS")
	case o.RFC2136 != nil:
		o.RFC2136.validate(func(path, format string, arguments ...any) { fault("rfc2136."+path, format, arguments...) })
	default:
		o.PowerDNS.validate(func(path, format string, arguments ...any) { fault("powerDNS."+path, format, arguments...) })
	}
	return faults
}

func (o *updateOptions) validate(fault func(path, format string, arguments ...any)) {
	if _, _, err := net.SplitHostPort(o.Server); err != nil {
		o.Server = net.JoinHostPort(strings.Trim(o.Server, "[]"), defaultPort)
	}
	if host, port, err := net.SplitHostPort(o.Server); err != nil || host == "" || port == "" {
		fault("server", "must be HOST or HOST:PORT")
	}
	name, err := absolute(o.KeyName)
	if err != nil {
		fault("keyName", "%v", err)
	}
	o.KeyName = name
	if problem := cmp.Or(httpclient.SecretProblem(o.KeySecret), o.KeySecret.Problem()); problem != "" {
		fault("keySecret", "%s", problem)
	}
	o.Algorithm = cmp.Or(o.Algorithm, defaultAlgorithm)
	if algorithms()[o.Algorithm] == nil {
		fault("algorithm", "must be one of %s, not %q", strings.Join(slices.Sorted(maps.Keys(algorithms())), ", "), o.Algorithm)
	}
}

func (o *powerDNSOptions) validate(fault func(path, format string, arguments ...any)) {
	if parsed, err := httpclient.ParseURL(o.URL); err != nil {
		fault("url", "%v", err)
	} else if parsed.User != nil || parsed.RawQuery != "" || strings.Contains(parsed.Path+"/", "/api/") {
		fault("url", "must be the root of PowerDNS, without /api, a user and a query")
	}
	if problem := cmp.Or(httpclient.SecretProblem(o.APIKey), o.APIKey.Problem()); problem != "" {
		fault("apiKey", "%s", problem)
	}
	o.ServerID = cmp.Or(o.ServerID, defaultServerID)
	if strings.ContainsAny(o.ServerID, "/?#%") {
		fault("serverID", "must be the name of a server, not %q", o.ServerID)
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", "%s", problem)
	}
}

// Dial connects to a server.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Descriptor describes the plugin. It connects by dial for dynamic updates, and by the client for PowerDNS. With a nil
// dial, it asks no server.
func Descriptor(client *http.Client, dial Dial, secrets cleanup.Secrets) cleanup.Descriptor {
	defaults := options{Name: cleanup.MustTemplate("${node.name}")}
	return cleanup.Descriptor{
		Name:           "dns",
		Summary:        "removes the DNS records of the node",
		Defaults:       cleanup.Policy{Critical: false, Timeout: time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			p := &plugin{options: o, online: dial != nil}
			if o.RFC2136 != nil {
				p.server = updater{*o.RFC2136, dial, secrets}
			} else {
				p.server = newPowerDNS(*o.PowerDNS, client, secrets)
			}
			return p, nil
		}),
	}
}
