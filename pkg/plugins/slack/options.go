// Package slack is the plugin that posts messages about Nodes to Slack.
package slack

import (
	_ "embed"
	"net/http"
	"regexp"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

//go:embed schema.json
var schema []byte

type options struct {
	// WebhookURL is the URL of an incoming webhook, in a Secret. Anyone who has the URL can post. Set either
	// it, or `token` and `channel`.
	WebhookURL cleanup.Value `json:"webhookURL"`
	// Token is the token of a bot with the scope `chat:write`, in a Secret. With it, a message can be replaced
	// later, and can be in a thread.
	Token cleanup.Value `json:"token"`
	// Channel is the ID of the channel for `token`, such as C0123456789. The bot must be a member.
	Channel string `json:"channel"`
	// Message is the text, as a template. Its default in a notification is `${notification.text}`.
	Message cleanup.Template `json:"message"`
	// Thread is the `ts` of the message to reply to, such as `${steps.announce.outputs.ts}`. It needs `token`.
	// Only for steps.
	Thread cleanup.Template `json:"thread"`
	// Replace is the `ts` of the message to replace, such as `${steps.announce.outputs.ts}`. It needs `token`.
	// Only for steps.
	Replace cleanup.Template `json:"replace"`
}

// channelID is the form of the ID of a channel or a direct message. A name works for chat.postMessage only.
var channelID = regexp.MustCompile(`^[CDG][A-Z0-9]{5,20}$`)

// Validate implements cleanup.Validator.
func (o *options) Validate() []error {
	faults := o.destinationFaults()
	fault := func(path, problem string) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: problem})
	}
	if o.Message.Empty() {
		fault("message", "must not be empty")
	}
	for path, template := range map[string]cleanup.Template{"message": o.Message, "thread": o.Thread, "replace": o.Replace} {
		if problem := template.Problem(); problem != "" {
			fault(path, problem)
		}
	}
	for path, template := range map[string]cleanup.Template{"thread": o.Thread, "replace": o.Replace} {
		if !template.Empty() && o.Token.Empty() {
			fault(path, "needs the option token: an incoming webhook does not return the message")
		}
	}
	if !o.Thread.Empty() && !o.Replace.Empty() {
		fault("replace", "cannot be combined with thread")
	}
	return faults
}

func (o *options) destinationFaults() []error {
	var faults []error
	fault := func(path, problem string) {
		faults = append(faults, cleanup.OptionError{Path: path, Problem: problem})
	}
	switch {
	case o.WebhookURL.Empty() && o.Token.Empty():
		fault("webhookURL", "set webhookURL, or token and channel")
	case !o.WebhookURL.Empty() && !o.Token.Empty():
		fault("token", "cannot be combined with webhookURL")
	case !o.Token.Empty() && !channelID.MatchString(o.Channel):
		fault("channel", "must be the ID of a channel, such as C0123456789. Slack shows it in the details of the channel")
	case o.Token.Empty() && o.Channel != "":
		fault("channel", "needs the option token: an incoming webhook has its own channel")
	}
	for path, value := range map[string]cleanup.Value{"webhookURL": o.WebhookURL, "token": o.Token} {
		if problem := httpclient.SecretProblem(value); problem != "" {
			fault(path, problem)
		}
	}
	return faults
}

// notifierOptions are the options of a notification.
type notifierOptions struct{ options }

// Validate implements cleanup.Validator.
func (o *notifierOptions) Validate() []error {
	faults := o.destinationFaults()
	for path, template := range map[string]cleanup.Template{"thread": o.Thread, "replace": o.Replace} {
		if !template.Empty() {
			faults = append(faults, cleanup.OptionError{Path: path, Problem: "applies only to steps: in a notification with token, the agent replaces its own messages"})
		}
	}
	if problem := o.Message.Problem(); problem != "" {
		faults = append(faults, cleanup.OptionError{Path: "message", Problem: problem})
	}
	return faults
}

// Descriptor describes the plugin. It sends requests with the given client, but follows no redirects.
func Descriptor(client *http.Client, secrets cleanup.Secrets) cleanup.Descriptor {
	defaults := options{Message: cleanup.MustTemplate("Node ${node.name} leaves the cluster")}
	sender := func(o options) *plugin {
		return &plugin{options: o, client: httpclient.WithoutRedirects(client), secrets: secrets}
	}
	return cleanup.Descriptor{
		Name:           "slack",
		Summary:        "posts a message about the node, or a notification, to Slack",
		Defaults:       cleanup.Policy{Critical: false, Timeout: 30 * time.Second},
		Schema:         schema,
		DefaultOptions: defaults,
		Bind:           cleanup.Options(defaults, func(o options) (cleanup.Plugin, error) { return sender(o), nil }),
		BindNotifier: cleanup.NotifierOptions(notifierOptions{options{Message: cleanup.MustTemplate("${notification.text}")}}, func(o notifierOptions) (cleanup.Notifier, error) {
			return notifier{sender(o.options)}, nil
		}),
	}
}
