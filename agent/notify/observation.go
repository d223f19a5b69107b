package notify

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// BlockedAfter is how long a cleanup is blocked before it counts as cleanup.NotifyBlocked. Most evictions
// that a budget delays succeed earlier.
const BlockedAfter = 5 * time.Minute

// observation is the part of a cleanup's state that notifications depend on.
type observation struct {
	// uid is the UID of the Node, or pauseUID.
	uid  types.UID
	node string
	// kinds hold now. blockedSince is the time from which on BlockedAfter is counted, zero if nothing is
	// blocked.
	kinds        kinds
	blockedSince time.Time
	// message is the cause, "" if there is none.
	message   string
	deletedBy string
	dryRun    bool
	// ended: the cleanup has ended, at endedAt if that is known.
	ended   bool
	endedAt time.Time
	// selected are the notifications with a nodeSelector that matches, see Selected; labels are those of a Node without
	// a run record.
	selected []string
	labels   labels.Set
}

// pauseUID is the UID of the observation that no cleanup begins.
const pauseUID types.UID = "pause"

// ofRun returns the observation that follows from a run record.
func ofRun(run *api.Run) observation {
	o := observation{uid: run.NodeUID, node: run.Node, deletedBy: shorten(run.Requester()), dryRun: run.DryRun, selected: run.Notifications}
	if run.PlanHash != "" {
		o.kinds |= started
	}
	if run.DeadlinePassed {
		o.kinds |= late
	}
	message := run.Message
	switch run.State {
	case api.Failed:
		if run.FinishedAt != nil { // The Node was removed before its cleanup was done.
			o.kinds, o.ended = o.kinds|unprotected, true
		} else {
			o.kinds |= failed
		}
	case api.Bypassed:
		o.kinds, o.ended = o.kinds|bypassed, true
	case api.Canceled:
		o.ended = true
	case api.Succeeded:
		if run.HostDifference != "" { // The Node is not released until an operator confirms the host.
			o.kinds, message = o.kinds|blocked, "the host rebooted or was replaced during the cleanup ("+run.HostDifference+")"
		} else {
			o.kinds, o.ended, message = o.kinds|succeeded, true, ""
		}
	case api.Blocked:
		o.blockedSince = run.StartedAt.Time
	default:
		if object, since := longestBlocked(run); !since.IsZero() {
			o.blockedSince = since
			message = cmp.Or(run.Message, object+" is blocked")
		}
	}
	if o.ended && run.FinishedAt != nil {
		o.endedAt = run.FinishedAt.Time
	}
	if o.kinds&alerting != 0 || !o.blockedSince.IsZero() {
		o.message = shorten(message)
	}
	return o
}

// longestBlocked returns the object that has been blocked for the longest time in a running step, and since
// when; zero if nothing is blocked.
func longestBlocked(run *api.Run) (object string, since time.Time) {
	for _, step := range run.Steps {
		if step.State != api.StepRunning || step.Counts == nil || step.Counts.BlockedSince == nil {
			continue
		}
		if at := step.Counts.BlockedSince.Time; since.IsZero() || at.Before(since) {
			object, since = step.Counts.Blocked, at
		}
	}
	return object, since
}

// at returns the kinds that hold at a time.
func (o observation) at(now time.Time) kinds {
	if !o.blockedSince.IsZero() && now.Sub(o.blockedSince) >= BlockedAfter {
		return o.kinds | blocked
	}
	return o.kinds
}

// concerns reports whether the notification selects the Node of the observation.
func (o observation) concerns(settings config.Notification) bool {
	if o.uid == pauseUID || settings.NodeSelector.Empty() {
		return true
	}
	return slices.Contains(o.selected, selection(settings)) || o.labels != nil && settings.NodeSelector.Matches(o.labels)
}

// shorten returns the beginning of a text in one line.
func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= cleanup.MaxNotificationMessage {
		return text
	}
	const mark = "…"
	return strings.ToValidUTF8(text[:cleanup.MaxNotificationMessage-len(mark)], "") + mark
}

// Selected returns the notifications with a nodeSelector that matches these labels, each as its name, "/" and a
// hash of that selector. The run record has them, because it outlives the Node.
func Selected(notifications []config.Notification, of map[string]string) []string {
	var selected []string
	for _, notification := range notifications {
		if !notification.NodeSelector.Empty() && notification.NodeSelector.Matches(labels.Set(of)) {
			selected = append(selected, selection(notification))
		}
	}
	return selected
}

// selection identifies a notification and its nodeSelector: with another one, it may select other Nodes.
func selection(of config.Notification) string {
	sum := sha256.Sum256([]byte(of.NodeSelector.String()))
	return of.Name + "/" + hex.EncodeToString(sum[:])[:8]
}
