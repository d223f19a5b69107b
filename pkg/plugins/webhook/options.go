// Package webhook is the plugin that has an HTTPS service do the work of a step, by the protocol of
// package webhookplugin.
package webhook

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

//go:embed schema.json
var schema []byte

type options struct {
	// URL is the URL of the service, without the path `/v1/`. It begins with https://, or with http://
	// if the host is localhost or an address of the loopback interface.
	URL string `json:"url" jsonschema:"required,pattern=^[Hh][Tt][Tt][Pp][Ss]?://"`
	// AllowHTTP allows a URL that begins with http:// for every host. Others in the network can then read
	// and change requests and answers.
	AllowHTTP bool `json:"allowHTTP"`
	// CABundle is the CAs in PEM that verify the service's certificate. Without it, the CAs of the
	// system verify it.
	CABundle cleanup.Value `json:"caBundle"`
	// ClientCertificate is the certificate in PEM that the agent presents to the service (mTLS).
	ClientCertificate cleanup.Value `json:"clientCertificate"`
	// ClientKey is the private key in PEM of the client certificate. It must be in a Secret.
	ClientKey cleanup.Value `json:"clientKey"`
	// Token is sent as a bearer token in the header Authorization. It must be in a Secret.
	Token cleanup.Value `json:"token"`
	// HMACSecret is the secret that each request is signed with. It must be in a Secret.
	HMACSecret cleanup.Value `json:"hmacSecret"`
	// CallTimeout limits the wait for one answer, from 1s to 30s. The step's timeout limits the work.
	CallTimeout metav1.Duration `json:"callTimeout"`
	// Params are names and values that are sent with each request, at most 16 KiB as JSON. They are
	// sent as written: references and Secrets are not resolved.
	Params map[string]any `json:"params"`
}

const (
	defaultCallTimeout = 10 * time.Second
	// maxParams is the maximum size of the params, in bytes.
	maxParams = 16 << 10
)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if problem := o.urlProblem(); problem != "" {
		fault("url", "%s", problem)
	}
	for _, secret := range []struct {
		path  string
		value cleanup.Value
	}{{"token", o.Token}, {"hmacSecret", o.HMACSecret}, {"clientKey", o.ClientKey}} {
		if secret.value.Empty() {
			continue
		}
		if _, is := secret.value.SecretKey(); !is {
			fault(secret.path, "must be in a Secret: {secretKeyRef: {name: …, key: …}}")
		} else if problem := secret.value.Problem(); problem != "" {
			fault(secret.path, "%s", problem)
		}
	}
	for _, certificates := range []struct {
		path  string
		value cleanup.Value
	}{{"caBundle", o.CABundle}, {"clientCertificate", o.ClientCertificate}} {
		if problem := httpclient.BundleProblem(certificates.value); problem != "" {
			fault(certificates.path, "%s", problem)
		}
	}
	if o.ClientCertificate.Empty() != o.ClientKey.Empty() {
		fault("clientKey", "must be given together with clientCertificate")
	}
	if limit := webhookplugin.MaxCallTimeout; o.CallTimeout.Duration < time.Second || o.CallTimeout.Duration > limit {
		fault("callTimeout", "must be from 1s to %s, not %s", limit, o.CallTimeout.Duration)
	}
	if path := secretIn("params", o.Params); path != "" {
		fault(path, "is sent as it is written, a Secret is not read: use token or hmacSecret")
	}
	if data, err := json.Marshal(o.Params); err != nil {
		fault("params", "%v", err)
	} else if len(data) > maxParams {
		fault("params", "have %d bytes as JSON, the maximum is %d", len(data), maxParams)
	}
	return faults
}

func (o *options) urlProblem() string {
	if o.URL == "" {
		return "must be given"
	}
	parsed, err := httpclient.ParseURL(o.URL)
	switch {
	case err != nil:
		return "is not a URL that starts with https://"
	case parsed.User != nil:
		return "must not contain a user: use token"
	case parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "":
		return "must end with the host or a path, without a query: use params"
	case strings.HasSuffix(strings.TrimSuffix(parsed.Path, "/"), "/"+webhookplugin.Version):
		return "must not contain the path /" + webhookplugin.Version + ", which the agent adds"
	case parsed.Scheme == "http" && !o.AllowHTTP && !loopback(parsed.Hostname()):
		return "must begin with https://, or set allowHTTP: true"
	}
	return ""
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// secretIn returns the path of the first secretKeyRef in the params, or "".
func secretIn(path string, params any) string {
	switch value := params.(type) {
	case map[string]any:
		for key, element := range value {
			if key == "secretKeyRef" {
				return path
			}
			if found := secretIn(path+"."+key, element); found != "" {
				return found
			}
		}
	case []any:
		for i, element := range value {
			if found := secretIn(fmt.Sprintf("%s[%d]", path, i), element); found != "" {
				return found
			}
		}
	}
	return ""
}

// Descriptor describes the plugin. It sends requests with the given client, without redirects.
func Descriptor(client *http.Client, secrets cleanup.Secrets, clock clock.WithTicker) cleanup.Descriptor {
	defaults := options{CallTimeout: metav1.Duration{Duration: defaultCallTimeout}}
	construct := func(o options) (*plugin, error) {
		base, err := url.Parse(strings.TrimSuffix(o.URL, "/"))
		if err != nil {
			return nil, err // Validate has refused it.
		}
		params := json.RawMessage("{}")
		if o.Params != nil {
			if params, err = json.Marshal(o.Params); err != nil {
				return nil, err
			}
		}
		return &plugin{options: o, base: base, params: params, client: httpclient.WithoutRedirects(client), secrets: secrets, clock: clock}, nil
	}
	return cleanup.Descriptor{
		Name:           "webhook",
		Summary:        "has an HTTPS service do the work, and waits until it is done",
		Defaults:       cleanup.Policy{Critical: true, Timeout: 10 * time.Minute},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind:           cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) { return construct(o) }),
		BindNotifier: cleanup.NotifierOptions(defaults, func(o options) (cleanup.Notifier, error) {
			plugin, err := construct(o)
			return notifier{plugin}, err
		}),
	}
}

// printable reports whether a value can be sent in a header. net/http would quote another one in its
// error.
func printable(value string) bool { return !strings.ContainsFunc(value, unicode.IsControl) }
