package webhookplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// MaxReference is the maximum length of a reference, in bytes.
const MaxReference = 1024

// Notification is the body of a POST of NotifyPath: a message to people about the cleanups of one or many
// Nodes. The agent sends it again with the same ID until it is answered with a status of success.
type Notification struct {
	// Name of the notification in the config.
	Name string `json:"name"`
	// Key is the same for all messages about the same group of Nodes.
	Key string `json:"key"`
	// ID is the same for each try of one message. The header Idempotency-Key has it, too.
	ID string `json:"id"`
	// Reference is that of the newest NotifyAnswer with this Key. If it is there, replace that message.
	Reference string `json:"reference,omitempty"`
	// Repeat: nothing has changed since the last message, but an operator is still needed.
	Repeat bool `json:"repeat"`
	// Open: an operator is needed now.
	Open bool `json:"open"`
	// Final: all of these cleanups have ended, and no other message with this Key follows.
	Final bool `json:"final"`
	// Began is when the first event was observed.
	Began time.Time `json:"began"`
	// Nodes is the number of Nodes; 0 if the message is that no cleanup begins.
	Nodes int `json:"nodes"`
	// Events has an element for each kind of event that holds now.
	Events []NotificationEvent `json:"events"`
	// DeletedBy is the user who deleted all of the Nodes. It is missing if there are several, or if the
	// user is not known.
	DeletedBy string `json:"deletedBy,omitempty"`
	DryRun    bool   `json:"dryRun,omitempty"`
	// Title is one line; Text has the same line and further ones. Both are plain text.
	Title string `json:"title"`
	Text  string `json:"text"`
	// Params is the option params of the notification, a JSON object.
	Params json.RawMessage `json:"params"`
}

// NotificationEvent is one kind of event of a Notification.
type NotificationEvent struct {
	// Kind is Started, Blocked, Failed, Deadline, Succeeded, Bypassed, Paused, Unprotected, or one of a later
	// agent.
	Kind string `json:"kind"`
	// Nodes is the number of Nodes, New how many of them the last message did not have.
	Nodes int `json:"nodes"`
	New   int `json:"new"`
	// Names are the first ten of these Nodes.
	Names []string `json:"names"`
	// Message says why the first of them has the event. It is missing if there is nothing to say.
	Message string `json:"message,omitempty"`
}

// NotifyAnswer is the answer to a POST of NotifyPath, with status 200.
type NotifyAnswer struct {
	// Reference identifies the message, if and only if the service can replace it later. The agent sends
	// each change to such a service, and fewer messages to others.
	Reference string `json:"reference,omitempty"`
}

// Validate returns the fault of an answer, or nil.
func (a NotifyAnswer) Validate() error {
	if len(a.Reference) > MaxReference {
		return fmt.Errorf("reference has %d bytes, the maximum is %d", len(a.Reference), MaxReference)
	}
	if strings.ContainsFunc(a.Reference, unicode.IsControl) {
		return errors.New("reference has a control character")
	}
	return nil
}

// Notifier is implemented by services that tell people about cleanups.
type Notifier interface {
	// Notify sends a message, or replaces the one with its Reference. It returns a reference if, and only
	// if, the service can replace the message later. It can be called again with the same ID.
	Notify(ctx context.Context, notification *Notification) (reference string, err error)
}

// notify serves NotifyPath.
func notify(notifier Notifier) func(http.ResponseWriter, *http.Request, []byte) {
	return func(writer http.ResponseWriter, received *http.Request, body []byte) {
		var notification Notification
		if err := json.Unmarshal(body, &notification); err != nil {
			refuse(writer, http.StatusBadRequest, "the request is not JSON of this protocol")
			return
		}
		if notification.Key == "" || notification.ID == "" {
			refuse(writer, http.StatusBadRequest, "the request lacks key or id")
			return
		}
		answer := NotifyAnswer{}
		var err error
		if answer.Reference, err = notifier.Notify(received.Context(), &notification); err == nil {
			err = answer.Validate()
		}
		if err != nil {
			refuse(writer, http.StatusInternalServerError, err.Error())
			return
		}
		send(writer, http.StatusOK, answer)
	}
}
