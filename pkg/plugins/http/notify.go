package http

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// referenceOutput is the only output that a notification can have.
const referenceOutput = "reference"

// notifierOptions are the options of a notification.
type notifierOptions struct{ options }

// Validate implements cleanup.Validator.
func (o *notifierOptions) Validate() []error {
	faults := o.options.Validate()
	for _, name := range slices.Sorted(maps.Keys(o.Outputs)) {
		if name != referenceOutput {
			faults = append(faults, cleanup.OptionError{Path: "outputs." + name, Problem: "a notification can have the output " + referenceOutput + " only"})
		}
	}
	return faults
}

// notifier sends notifications.
type notifier struct{ *plugin }

// notificationDocument is the body of a notification.
type notificationDocument struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	cleanup.Notification
}

// Notify implements cleanup.Notifier.
func (n *notifier) Notify(ctx context.Context, notification cleanup.Notification) (reference string, err error) {
	expand := func(template cleanup.Template, escape func(string) string) (string, error) {
		return template.ExpandNotification(notification, escape)
	}
	var body []byte
	if n.Body.Empty() {
		body, err = json.Marshal(notificationDocument{"nodecleanup.io/v1alpha1", "NodeCleanupNotification", notification})
	} else {
		body, err = n.expandBody(expand)
	}
	if err != nil {
		return "", cleanup.Permanent(fmt.Errorf("encoding the notification: %w", err))
	}
	err = n.send(ctx, body, expand, notification.ID, func(answer io.Reader) { reference = n.reference(answer, notification) })
	return reference, err
}

// reference returns the reference in the answer, "" if there is none: the message has been sent all the
// same.
func (n *notifier) reference(body io.Reader, notification cleanup.Notification) string {
	path, wanted := n.Outputs[referenceOutput]
	if !wanted {
		return ""
	}
	answer, err := decode(body)
	if err != nil {
		notification.Log.Warn("the answer has no reference: it is not JSON of at most 64 KiB", "url", n.where(), "err", n.conceal(err))
		return ""
	}
	value, err := find(referenceOutput, path, answer)
	if err == nil {
		err = cleanup.CheckOutput(referenceOutput, value)
	}
	if err != nil {
		notification.Log.Warn("the answer lacks the reference", "url", n.where(), "err", err)
		return ""
	}
	return value
}
