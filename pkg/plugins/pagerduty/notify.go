package pagerduty

import (
	"context"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// notifier sends notifications.
type notifier struct{ *plugin }

// The references of a notification: what PagerDuty has got about the group. The agent calls Notify for each change of a
// group with a reference, so an alert is resolved as soon as it is no longer needed.
const (
	// alerted: an alert is open.
	alerted = "alert"
	// changed: no alert is open, but PagerDuty knows the group.
	changed = "change"
)

// Notify implements cleanup.Notifier. It triggers an alert while an operator is needed, and resolves it afterwards.
// Otherwise, it sends one change event at the beginning of a group and one at its end, because PagerDuty cannot replace
// them.
func (n notifier) Notify(ctx context.Context, notification cleanup.Notification) (reference string, err error) {
	switch needed, open := needsAlert(notification), notification.Reference == alerted; {
	case needed && open && !notification.Repeat && !hasNew(notification):
		return alerted, nil
	case needed:
		payload, err := n.payload(notification)
		if err != nil {
			return "", err
		}
		return alerted, n.trigger(ctx, notification.Key, payload)
	case open:
		return changed, n.resolve(ctx, notification.Key)
	case notification.Reference != "" && !notification.Final:
		return changed, nil
	}
	payload, err := n.payload(notification)
	if err != nil {
		return "", err
	}
	return changed, n.change(ctx, payload)
}

func (n notifier) payload(notification cleanup.Notification) (*payload, error) {
	summary, err := n.Summary.ExpandNotification(notification, nil)
	if err != nil {
		return nil, err
	}
	source, err := n.Source.ExpandNotification(notification, nil)
	if err != nil {
		return nil, err
	}
	return newPayload(summary, source, notification.Began, map[string]any{
		"text": notification.Text, "nodes": notification.Nodes, "status": notification.Status(), "notification": notification.Name,
	}), nil
}

// needsAlert reports whether an alert must be open. A Node that was deleted without its cleanup cannot recover, so its
// alert remains until a user resolves it. Nobody is paged for a dry run.
func needsAlert(notification cleanup.Notification) bool {
	return !notification.DryRun && (notification.Open || slices.ContainsFunc(notification.Events, func(event cleanup.NotificationEvent) bool {
		return event.Kind == cleanup.NotifyUnprotected
	}))
}

// hasNew reports whether there is an event that needs attention and that the last message did not have.
func hasNew(notification cleanup.Notification) bool {
	return slices.ContainsFunc(notification.Events, func(event cleanup.NotificationEvent) bool {
		return event.New > 0 && event.Kind.NeedsAttention()
	})
}
