// Package teams is the plugin that hands messages about Nodes to a workflow of Microsoft Teams.
package teams

import (
	_ "embed"
	"net/http"
	"time"

	"k8s.io/client-go/util/flowcontrol"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

//go:embed schema.json
var schema []byte

type options struct {
	// WebhookURL is the URL of a workflow with the trigger "When a Teams webhook request is received", in a Secret.
	// Anyone who has the URL can post.
	WebhookURL cleanup.Value `json:"webhookURL" jsonschema:"required"`
	// Message is the text, as a template. Its first line is the heading. Its default in a notification is
	// `${notification.text}`.
	Message cleanup.Template `json:"message"`
}

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	var faults []error
	fault := func(path, problem string) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: problem})
	}
	if o.WebhookURL.Empty() {
		fault("webhookURL", "is required: {secretKeyRef: {name: …, key: …}}")
	} else if problem := httpclient.SecretProblem(o.WebhookURL); problem != "" {
		fault("webhookURL", problem)
	}
	if problem := o.Message.Problem(); problem != "" {
		fault("message", problem)
	} else if o.Message.Empty() {
		fault("message", "must not be empty")
	}
	return faults
}

const (
	// perSecond and burst limit the requests of a step or a notification. Teams limits a webhook to four requests in a
	// second: https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using.
	perSecond = 2
	burst     = 2
)

// Descriptor describes the plugin. It sends requests with the given client, but follows no redirects.
func Descriptor(client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	defaults := options{Message: cleanup.MustTemplate("Node ${node.name} leaves the cluster")}
	ofNotification := options{Message: cleanup.MustTemplate("${notification.text}")}
	workflowFor := func(o options) workflow {
		return workflow{o, httpclient.WithoutRedirects(client), secrets, flowcontrol.NewTokenBucketRateLimiter(perSecond, burst)}
	}
	return cleanup.Descriptor{
		Name:           "teams",
		Summary:        "hands a message about the node, or a notification, to a Teams workflow",
		Defaults:       cleanup.Policy{Critical: false, Timeout: 30 * time.Second},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind:           cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) { return &plugin{workflowFor(o)}, nil }),
		BindNotifier: cleanup.NotifierOptions(ofNotification, func(o options) (cleanup.Notifier, error) {
			return &notifier{workflowFor(o)}, nil
		}),
	}
}
