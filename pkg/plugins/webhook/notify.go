package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/webhookplugin"
)

// notifier has the service send notifications.
type notifier struct{ plugin *plugin }

// Notify implements cleanup.Notifier.
func (n notifier) Notify(ctx context.Context, notification cleanup.Notification) (reference string, err error) {
	p := n.plugin
	body, err := json.Marshal(describeNotification(notification, p.params))
	if err != nil {
		return "", cleanup.Permanent(fmt.Errorf("encoding the notification: %w", err))
	}
	data, secrets, err := p.call(ctx, p.CallTimeout.Duration, http.MethodPost, webhookplugin.NotifyPath, body, notification.ID)
	if err != nil {
		return "", err
	}
	answer, err := decode[webhookplugin.NotifyAnswer](p, webhookplugin.NotifyPath, data, secrets)
	if err != nil {
		return "", err
	}
	if secrets.leaks(answer.Reference) { // It has sent the message all the same.
		notification.Log.Warn("ignoring the reference of a notification: it contains a secret", "url", p.base.String())
		return "", nil
	}
	return answer.Reference, nil
}

// CheckHealth implements cleanup.HealthChecker: the service has the ability, and says that it is healthy.
func (n notifier) CheckHealth(ctx context.Context) error {
	discovered, err := n.plugin.discover(ctx)
	if err != nil {
		return err
	}
	if !discovered.Can(webhookplugin.AbilityNotify) {
		return errors.New(n.plugin.base.JoinPath(webhookplugin.DiscoveryPath).String() + ": the service does not have the ability notify")
	}
	return n.plugin.health(ctx)
}

// describeNotification returns the notification in the form of the protocol.
func describeNotification(n cleanup.Notification, params json.RawMessage) webhookplugin.Notification {
	described := webhookplugin.Notification{
		Name: n.Name, Key: n.Key, ID: n.ID, Reference: n.Reference, Repeat: n.Repeat, Open: n.Open, Final: n.Final, Began: n.Began, Nodes: n.Nodes,
		Events: []webhookplugin.NotificationEvent{}, DeletedBy: n.DeletedBy, DryRun: n.DryRun, Title: n.Title, Text: n.Text, Params: params,
	}
	for _, event := range n.Events {
		described.Events = append(described.Events, webhookplugin.NotificationEvent{
			Kind: string(event.Kind), Nodes: event.Nodes, New: event.New, Names: append([]string{}, event.Names...), Message: event.Message,
		})
	}
	return described
}
