package logger

import (
	"context"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

type notifier struct{ options }

// Notify implements cleanup.Notifier. A log cannot replace a line, so there is no reference.
func (n notifier) Notify(ctx context.Context, notification cleanup.Notification) (reference string, err error) {
	message, err := n.Message.ExpandNotification(notification, nil)
	if err != nil {
		return "", err
	}
	notification.Log.Log(ctx, n.Level, message, "key", notification.Key, "status", notification.Status())
	return "", nil
}
