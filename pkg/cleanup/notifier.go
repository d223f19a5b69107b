package cleanup

import (
	"context"
	"log/slog"
	"time"
)

// Notifier is implemented by plugins that send messages about cleanups. The agent decides what to send and
// when; it groups events, retries, and limits the time of a call. No cleanup waits for a Notifier.
type Notifier interface {
	// Notify sends one message. It must return soon after ctx is done. It returns a reference if, and only
	// if, the service can replace the message later, such as the ID of a message in a chat: the next
	// Notification with the same Key has it. The agent sends fewer messages to a service that returns none.
	// The agent retries after an error. RetryAfter sets the minimum wait. After Permanent, the agent retries
	// when something changes, and after repeatInterval. Neither the reference nor the text of an error may
	// contain a secret.
	//
	// After a crash, the agent can send a message again with the same ID.
	Notify(ctx context.Context, notification Notification) (reference string, err error)
}

// NotificationKind is the kind of an event about one Node, or about all of them.
type NotificationKind string

// The kinds of events.
const (
	// NotifyStarted: the cleanup has begun.
	NotifyStarted NotificationKind = "Started"
	// NotifyBlocked: for minutes, a cleanup has been blocked by something that the agent cannot change.
	NotifyBlocked NotificationKind = "Blocked"
	// NotifyFailed: a critical step has no retries left.
	NotifyFailed NotificationKind = "Failed"
	// NotifyDeadline: the cleanup takes longer than the deadline of the config.
	NotifyDeadline NotificationKind = "Deadline"
	// NotifySucceeded: every critical step is done.
	NotifySucceeded NotificationKind = "Succeeded"
	// NotifyBypassed: the Node was released without its complete cleanup.
	NotifyBypassed NotificationKind = "Bypassed"
	// NotifyPaused: no cleanup begins, because of an operator or the brake. It refers to no single Node.
	NotifyPaused NotificationKind = "Paused"
	// NotifyUnprotected: the Node was deleted without a cleanup, because it had no finalizer or lost it.
	NotifyUnprotected NotificationKind = "Unprotected"
)

// NotificationKinds returns all kinds: first those that need attention, by urgency.
func NotificationKinds() []NotificationKind {
	return []NotificationKind{NotifyUnprotected, NotifyFailed, NotifyBlocked, NotifyDeadline, NotifyBypassed, NotifyPaused, NotifySucceeded, NotifyStarted}
}

// NeedsAttention reports whether the kind needs the attention of an operator.
func (k NotificationKind) NeedsAttention() bool { return k != NotifyStarted && k != NotifySucceeded }

// Limits of a Notification.
const (
	// MaxNotificationNames is the maximum number of Nodes that each event names.
	MaxNotificationNames = 10
	// MaxNotificationMessage is the maximum length of the message of an event, in bytes.
	MaxNotificationMessage = 300
	// MaxNotificationReference is the maximum length of a reference, in bytes. The agent ignores a longer
	// one.
	MaxNotificationReference = 1024
)

// Notification is one message about the current state of the cleanups of one or many Nodes. It contains no
// secret, and at most about 32 KiB of text.
type Notification struct {
	// Name of the notification in the config.
	Name string `json:"name"`
	// Key is the same for all messages about the same group of Nodes, also after a change of the leader.
	// It has at most 80 characters. Use it as the deduplication key of another system.
	Key string `json:"key"`
	// ID is the same for each try of one message, also after a change of the leader, and for no other
	// message. It begins with Key, and has at most 100 characters.
	ID string `json:"id"`
	// Reference is the last reference that Notify returned for this Key. It is empty for the first message.
	// If it is not empty, replace that message.
	Reference string `json:"reference,omitempty"`
	// Repeat: nothing has changed since the last message, but an operator is still needed.
	Repeat bool `json:"repeat"`
	// Open: an operator is needed now, because a cleanup is blocked, has failed or is late, or because no
	// cleanup begins.
	Open bool `json:"open"`
	// Final: all of these cleanups have ended. Another message with this Key follows only if a cleanup
	// changes during this call.
	Final bool `json:"final"`
	// Began is when the first event was observed.
	Began time.Time `json:"began"`
	// Nodes is the number of Nodes; 0 if no cleanup begins.
	Nodes int `json:"nodes"`
	// Events has one element for each kind that holds now, in the order of NotificationKinds. A Node can
	// be in several of them, such as Failed and Started.
	Events []NotificationEvent `json:"events"`
	// DeletedBy is the user who deleted all of the Nodes. It is empty if there are several, or if the user
	// is unknown.
	DeletedBy string `json:"deletedBy,omitempty"`
	// DryRun: the cleanups change nothing.
	DryRun bool `json:"dryRun,omitempty"`
	// Title is one line that summarizes Events. Text begins with the same line, and has further ones. Both
	// are plain text.
	Title string `json:"title"`
	Text  string `json:"text"`
	// Log is bound to the notification.
	Log *slog.Logger `json:"-"`
}

// Status returns "Open", "Final" or "Ongoing". Open and Final are fields of the Notification; a cleanup that
// has ended is never Open.
func (n Notification) Status() string {
	switch {
	case n.Final:
		return "Final"
	case n.Open:
		return "Open"
	}
	return "Ongoing"
}

// NotificationEvent is one kind of event of a Notification.
type NotificationEvent struct {
	Kind NotificationKind `json:"kind"`
	// Nodes is the number of Nodes; 0 for NotifyPaused.
	Nodes int `json:"nodes"`
	// New is how many of them the last message did not have; 1 for a new NotifyPaused.
	New int `json:"new"`
	// Names are the first of these Nodes in alphabetical order, at most MaxNotificationNames.
	Names []string `json:"names"`
	// Message is the cause for the first of these Nodes. It is empty if there is none.
	Message string `json:"message,omitempty"`
}

// More returns the number of Nodes that are not in Names.
func (e NotificationEvent) More() int { return e.Nodes - len(e.Names) }
