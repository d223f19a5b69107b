package email

import (
	"context"
	"slices"
	"sync"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// notifier sends notifications.
type notifier struct {
	server
	mutex sync.Mutex
	// partly are the messages that only some of their recipients have, by the key of the notification.
	partly map[string]partly
}

// partly is a message that only some of its recipients have.
type partly struct {
	id  string
	has []string
}

// maxPartly limits the memory for messages that were never delivered to all recipients.
const maxPartly = 100

// Notify implements cleanup.Notifier. It returns no reference, because a mail cannot be replaced: with a reference, the
// agent would send a mail for each change. All mails of a group are one conversation, by the key of the group.
func (n *notifier) Notify(ctx context.Context, notification cleanup.Notification) (reference string, err error) {
	m, err := n.message(notification.ID, notification.Key, func(template cleanup.Template, escape func(string) string) (string, error) {
		return template.ExpandNotification(notification, escape)
	})
	if err != nil {
		return "", err
	}
	already := n.already(notification)
	accepted, err := n.send(ctx, m, already)
	if len(accepted) > 0 {
		notification.Log.Info("the mail server accepted the mail", "server", n.address(), "messageID", m.id, "recipients", len(accepted))
	}
	n.remember(notification, slices.Concat(already, accepted), err)
	return "", err
}

// already returns the recipients of this message that an earlier try sent it to.
func (n *notifier) already(notification cleanup.Notification) []string {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if earlier := n.partly[notification.Key]; earlier.id == notification.ID {
		return earlier.has
	}
	return nil
}

// remember stores which recipients have the message if the agent will try again.
func (n *notifier) remember(notification cleanup.Notification, has []string, err error) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if err == nil || len(has) == 0 {
		delete(n.partly, notification.Key)
		return
	}
	if len(n.partly) >= maxPartly {
		clear(n.partly)
	}
	n.partly[notification.Key] = partly{notification.ID, has}
}
