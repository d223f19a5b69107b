package slack

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

type plugin struct {
	options
	client  *http.Client
	secrets cleanup.Secrets
}

// tsOutput is the output with the ID of the message.
const tsOutput = "ts"

// OutputNames implements cleanup.OutputNamer. An incoming webhook does not return the message.
func (p *plugin) OutputNames() []string {
	if p.Token.Empty() {
		return []string{}
	}
	return []string{tsOutput}
}

// Cleanup implements cleanup.Plugin. A message that an earlier attempt has posted is replaced.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	text, err := p.Message.Expand(target, escape)
	if err != nil {
		return err
	}
	message := document(text)
	if p.Token.Empty() {
		return p.post(ctx, message)
	}
	replaced, err := p.Replace.Expand(target, nil)
	if err != nil {
		return err
	}
	thread, err := p.Thread.Expand(target, nil)
	if err != nil {
		return err
	}
	if earlier := target.Outputs[target.Step][tsOutput]; earlier != "" {
		replaced = earlier
	}
	ts, err := p.publish(ctx, message, replaced, thread)
	if err != nil {
		return err
	}
	return target.Output(tsOutput, ts)
}

// publish posts a message, or replaces one. It returns its ID. If the message cannot be replaced, it posts
// another one.
func (p *plugin) publish(ctx context.Context, message map[string]any, replaced, thread string) (ts string, err error) {
	message["channel"] = p.Channel
	if replaced != "" {
		message["ts"] = replaced
		answered, err := p.call(ctx, "chat.update", message)
		if code := errorCode(""); !errors.As(err, &code) || code != "message_not_found" && code != "cant_update_message" && code != "edit_window_closed" {
			return answered.TS, err
		}
		delete(message, "ts")
	}
	if thread != "" {
		message["thread_ts"] = thread
	}
	answered, err := p.call(ctx, "chat.postMessage", message)
	return answered.TS, err
}

// CheckHealth implements cleanup.HealthChecker. With a token, auth.test reports whether Slack accepts it. For
// an incoming webhook, every request posts a message, so only the URL is checked.
func (p *plugin) CheckHealth(ctx context.Context) error {
	if !p.Token.Empty() {
		_, err := p.call(ctx, "auth.test", nil)
		return err
	}
	address, err := httpclient.Resolve(ctx, p.secrets, p.WebhookURL)
	if err != nil {
		return fmt.Errorf("reading the URL of the incoming webhook: %w", err)
	}
	if _, err := httpclient.ParseURL(address); err != nil {
		return fmt.Errorf("the URL of the incoming webhook %w", err)
	}
	return nil
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(_ context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	object := cleanup.Object{Kind: "SlackChannel", Name: p.Channel}
	if key, webhook := p.WebhookURL.SecretKey(); webhook {
		object = cleanup.Object{Kind: "SlackWebhook", Name: "in secret " + key.Name}
	}
	action := cleanup.Action("Post")
	if !p.Replace.Empty() {
		action = "Replace"
	}
	return []cleanup.Effect{{Action: action, Object: object, Reason: p.Message.Preview(target)}}, nil
}
