package slack

import (
	"context"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// notifier sends notifications.
type notifier struct{ *plugin }

// Notify implements cleanup.Notifier. With a token, the reference is the ID of the message, which is
// replaced. Slack notifies no user of a replaced message. So an event that needs attention, and was not in
// the message before, is also posted in its thread, and so is a repeated message.
func (n notifier) Notify(ctx context.Context, notification cleanup.Notification) (reference string, err error) {
	text, err := n.Message.ExpandNotification(notification, escape)
	if err != nil {
		return "", err
	}
	message := document(text)
	if n.Token.Empty() {
		return "", n.post(ctx, message)
	}
	ts, err := n.publish(ctx, message, notification.Reference, "")
	if err != nil || ts != notification.Reference {
		return ts, err
	}
	if notification.Repeat || needsAttention(notification) {
		_, err = n.publish(ctx, document(escape(notification.Title)), "", ts)
	}
	return ts, err
}

// needsAttention reports whether there is a new event that needs the attention of an operator.
func needsAttention(notification cleanup.Notification) bool {
	return slices.ContainsFunc(notification.Events, func(event cleanup.NotificationEvent) bool {
		return event.New > 0 && event.Kind.NeedsAttention()
	})
}
