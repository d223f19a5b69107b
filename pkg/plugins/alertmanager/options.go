// Package alertmanager is the plugin that silences the alerts of a Node in Prometheus Alertmanager while the Node is
// cleaned up.
package alertmanager

import (
	_ "embed"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

//go:embed schema.json
var schema []byte

type options struct {
	// URL is the URL of Alertmanager, with the path of `--web.route-prefix` if there is one, without `/api/v2`.
	URL string `json:"url" jsonschema:"required,pattern=^[Hh][Tt][Tt][Pp][Ss]?://"`
	// Action is `silence` to begin a silence or to extend it, or `expire` to end the silences of the Node.
	Action string `json:"action" jsonschema:"enum=silence,enum=expire"`
	// Matchers are the conditions that alerts must fulfill, as templates: `NAME="VALUE"`, with the operators `=`, `!=`,
	// `=~` and `!~`. One with `=` or `=~` must refer to the Node. Only references to the Node are possible.
	Matchers []cleanup.Template `json:"matchers"`
	// Duration is how long the silence lasts from the step on, if no later step extends or ends it, from 1m to 168h.
	// Only for `silence`.
	Duration metav1.Duration `json:"duration"`
	// GracePeriod is how long the silence lasts after the step, because Prometheus needs some minutes to remove the
	// alerts of a deleted Node. With 0s, it ends at once. At most 24h. Only for `expire`.
	GracePeriod metav1.Duration `json:"gracePeriod"`
	// Token is the bearer token, in a Secret. It cannot be combined with `username`.
	Token cleanup.Value `json:"token"`
	// Username is the user name for basic authentication. It needs `password`.
	Username string `json:"username"`
	// Password is the password for basic authentication, in a Secret.
	Password cleanup.Value `json:"password"`
	// CABundle is the CAs in PEM that verify Alertmanager's certificate. Without it, the CAs of the system verify it.
	CABundle cleanup.Value `json:"caBundle"`
}

// The actions.
const (
	actionSilence = "silence"
	actionExpire  = "expire"
)

// Limits of the options.
const (
	minDuration    = time.Minute
	maxDuration    = 7 * 24 * time.Hour
	maxGracePeriod = 24 * time.Hour
)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	faults := append(o.matcherFaults(), o.credentialFaults()...)
	fault := func(path, format string, arguments ...any) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: fmt.Sprintf(format, arguments...)})
	}
	if root, err := httpclient.ParseURL(o.URL); err != nil {
		fault("url", "%v", err)
	} else if root.User != nil || root.RawQuery != "" || root.Fragment != "" {
		fault("url", "must have no user, query or fragment")
	}
	if o.Action != actionSilence && o.Action != actionExpire {
		fault("action", "must be silence or expire, not %q", o.Action)
	}
	if o.Duration.Duration < minDuration || o.Duration.Duration > maxDuration {
		fault("duration", "must be from %s to %s, not %s", minDuration, maxDuration, o.Duration.Duration)
	}
	if o.GracePeriod.Duration < 0 || o.GracePeriod.Duration > maxGracePeriod {
		fault("gracePeriod", "must be from 0s to %s, not %s", maxGracePeriod, o.GracePeriod.Duration)
	}
	return faults
}

func (o *options) credentialFaults() []error {
	var faults []error
	fault := func(path, problem string) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: problem})
	}
	for path, value := range map[string]cleanup.Value{"token": o.Token, "password": o.Password} {
		if problem := httpclient.SecretProblem(value); problem != "" {
			fault(path, problem)
		}
	}
	if problem := httpclient.BundleProblem(o.CABundle); problem != "" {
		fault("caBundle", problem)
	}
	switch {
	case !o.Token.Empty() && (o.Username != "" || !o.Password.Empty()):
		fault("token", "cannot be combined with username and password")
	case (o.Username == "") != o.Password.Empty():
		fault("password", "must be set together with username")
	}
	return faults
}

// credentials returns what authorizes the requests, nil for nothing.
func (o *options) credentials(secrets cleanup.Secrets) httpclient.Credentials {
	switch {
	case !o.Token.Empty():
		return httpclient.Header(secrets, "Authorization", "Bearer ", o.Token)
	case o.Username != "":
		return httpclient.Basic(secrets, o.Username, o.Password)
	}
	return nil
}

// Descriptor describes the plugin. It sends requests with the given client, but follows no redirects. The clock gives
// the end of a silence.
func Descriptor(client *http.Client, secrets cleanup.Secrets, clock clock.PassiveClock) cleanup.Descriptor {
	defaults := options{
		Action: actionSilence, Matchers: []cleanup.Template{cleanup.MustTemplate(`node="${node.name}"`)},
		Duration: metav1.Duration{Duration: 4 * time.Hour}, GracePeriod: metav1.Duration{Duration: 5 * time.Minute},
	}
	return cleanup.Descriptor{
		Name:           "alertmanager",
		Summary:        "silences the alerts of the node, and ends the silence",
		Defaults:       cleanup.Policy{Critical: false, Timeout: 30 * time.Second},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind: cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) {
			return &plugin{options: o, clock: clock, api: &httpclient.API{
				System: "Alertmanager", URL: o.URL, Client: client, Credentials: o.credentials(secrets),
				Secrets: secrets, TLS: httpclient.TLS{CABundle: o.CABundle}, Message: message,
			}}, nil
		}),
	}
}
