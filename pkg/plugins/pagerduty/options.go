// Package pagerduty is the plugin that sends events about Nodes to PagerDuty.
package pagerduty

import (
	_ "embed"
	"fmt"
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
	// RoutingKey is the integration key of a PagerDuty service (integration "Events API v2"), in a Secret.
	RoutingKey cleanup.Value `json:"routingKey" jsonschema:"required"`
	// URL is the root of the Events API. For the service region EU, it is `https://events.eu.pagerduty.com`.
	URL string `json:"url" jsonschema:"pattern=^[Hh][Tt][Tt][Pp][Ss]?://"`
	// Event is `change` for a change event, which notifies no user, or `trigger` or `resolve` to open or resolve an alert. Only for steps.
	Event string `json:"event" jsonschema:"enum=change,enum=trigger,enum=resolve"`
	// DedupKey identifies the alert, as a template of at most 255 characters. The steps with `trigger` and `resolve` need the
	// same. Only for steps.
	DedupKey cleanup.Template `json:"dedupKey"`
	// Summary is the text of the change event or the alert, as a template. The plugin cuts it after 1024 characters. Its
	// default in a notification is `${notification.title}`.
	Summary cleanup.Template `json:"summary"`
	// Source is the place where the event occurred, as a template. The plugin cuts it after 1024 characters. Its default in a
	// notification is `nodecleanup`.
	Source cleanup.Template `json:"source"`
	// Severity is the severity of an alert.
	Severity string `json:"severity" jsonschema:"enum=critical,enum=error,enum=warning,enum=info"`
}

// The values of the option event.
const (
	change  = "change"
	trigger = "trigger"
	resolve = "resolve"
)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	faults := o.commonFaults()
	fault := func(path, problem string) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: problem})
	}
	if !slices.Contains([]string{change, trigger, resolve}, o.Event) {
		fault("event", fmt.Sprintf("must be change, trigger or resolve, not %q", o.Event))
	}
	return append(faults, textFaults("dedupKey", o.DedupKey)...)
}

// textFaults returns the fault of a template that must not be empty.
func textFaults(path string, template cleanup.Template) []error {
	problem := template.Problem()
	if template.Empty() {
		problem = "must not be empty"
	}
	if problem == "" {
		return nil
	}
	return []error{cleanup.OptionError{Path: path, Problem: problem}}
}

// commonFaults returns the faults of the options of steps and notifications.
func (o *options) commonFaults() []error {
	var faults []error
	fault := func(path, problem string) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: problem})
	}
	if o.RoutingKey.Empty() {
		fault("routingKey", "is required: {secretKeyRef: {name: …, key: …}}")
	} else if problem := httpclient.SecretProblem(o.RoutingKey); problem != "" {
		fault("routingKey", problem)
	}
	if root, err := httpclient.ParseURL(o.URL); err != nil {
		fault("url", err.Error())
	} else if root.User != nil || root.RawQuery != "" || root.Fragment != "" || strings.Contains(root.Path, "/v2") {
		fault("url", "must have no user, query or fragment, and must not contain /v2")
	}
	faults = append(faults, textFaults("summary", o.Summary)...)
	faults = append(faults, textFaults("source", o.Source)...)
	if severities := []string{"critical", "error", "warning", "info"}; !slices.Contains(severities, o.Severity) {
		fault("severity", fmt.Sprintf("must be one of %s, not %q", strings.Join(severities, ", "), o.Severity))
	}
	return faults
}

// notifierOptions are the options of a notification.
type notifierOptions struct{ options }

// Validate implements cleanup.Validator.
func (o *notifierOptions) Validate() []error {
	faults := o.commonFaults()
	if o.Event != "" {
		faults = append(faults, cleanup.OptionError{Path: "event", Problem: "applies only to steps: a notification triggers an alert while an operator is needed"})
	}
	if !o.DedupKey.Empty() {
		faults = append(faults, cleanup.OptionError{Path: "dedupKey", Problem: "applies only to steps: a notification uses the key of its group"})
	}
	return faults
}

// Descriptor describes the plugin. It sends requests with the given client, but follows no redirects.
func Descriptor(client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	defaults := options{
		URL: "https://events.pagerduty.com", Event: change, Severity: "error", DedupKey: cleanup.MustTemplate("nodecleanup/${node.uid}"),
		Summary: cleanup.MustTemplate("Node ${node.name} leaves the cluster"), Source: cleanup.MustTemplate("${node.name}"),
	}
	notification := notifierOptions{options{
		URL: defaults.URL, Severity: defaults.Severity, Summary: cleanup.MustTemplate("${notification.title}"), Source: cleanup.MustTemplate("nodecleanup"),
	}}
	sender := func(o options) *plugin { return &plugin{options: o, client: client, secrets: secrets} }
	return cleanup.Descriptor{
		Name:           "pagerduty",
		Summary:        "sends change events, alerts and notifications to PagerDuty",
		Defaults:       cleanup.Policy{Critical: false, Timeout: 30 * time.Second},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind:           cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) { return sender(o), nil }),
		BindNotifier: cleanup.NotifierOptions(notification, func(o notifierOptions) (cleanup.Notifier, error) {
			return notifier{sender(o.options)}, nil
		}),
	}
}
