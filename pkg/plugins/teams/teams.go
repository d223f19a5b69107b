package teams

import (
	"context"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/plugins/httpclient"
)

// plugin hands a message over in a step.
type plugin struct{ workflow }

// handedOver is the output that says that the workflow has the message.
const handedOver = "handedOver"

// OutputNames implements cleanup.OutputNamer.
func (p *plugin) OutputNames() []string { return []string{handedOver} }

// Cleanup implements cleanup.Plugin. A workflow cannot recognize a repetition, so the output prevents one.
func (p *plugin) Cleanup(ctx context.Context, target cleanup.Target) error {
	if target.Outputs[target.Step][handedOver] != "" {
		return nil
	}
	text, err := p.Message.Expand(target, nil)
	if err != nil {
		return err
	}
	if err := p.hand(ctx, encode(text, usual)); err != nil {
		return err
	}
	return target.Output(handedOver, "true")
}

// CheckHealth implements cleanup.HealthChecker. Every request posts a message, so only the URL is checked.
func (w *workflow) CheckHealth(ctx context.Context) error {
	_, err := w.address(ctx)
	return err
}

// Preview implements cleanup.Previewer.
func (p *plugin) Preview(_ context.Context, target cleanup.Target) ([]cleanup.Effect, error) {
	key, _ := p.WebhookURL.SecretKey()
	return []cleanup.Effect{{
		Action: "Submit",
		Object: cleanup.Object{Kind: "TeamsWorkflow", Name: "in secret " + key.Name},
		Reason: httpclient.OneLine("hands over a message to the workflow: " + p.Message.Preview(target)),
	}}, nil
}

// notifier sends notifications.
type notifier struct{ workflow }

// Notify implements cleanup.Notifier. It returns no reference: a workflow does not return the message, so the message
// cannot be replaced.
func (n *notifier) Notify(ctx context.Context, notification cleanup.Notification) (reference string, err error) {
	text, err := n.Message.ExpandNotification(notification, nil)
	if err != nil {
		return "", err
	}
	heading := usual
	if notification.Open {
		heading = attention
	}
	return "", n.hand(ctx, encode(text, heading))
}
