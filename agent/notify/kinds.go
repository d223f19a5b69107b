package notify

import (
	"slices"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// kinds is a set of kinds of events. Bit i stands for element i of cleanup.NotificationKinds.
type kinds uint16

func setOf(all ...cleanup.NotificationKind) kinds {
	var set kinds
	for i, kind := range cleanup.NotificationKinds() {
		if slices.Contains(all, kind) {
			set |= 1 << i
		}
	}
	return set
}

var (
	started     = setOf(cleanup.NotifyStarted)
	blocked     = setOf(cleanup.NotifyBlocked)
	failed      = setOf(cleanup.NotifyFailed)
	late        = setOf(cleanup.NotifyDeadline)
	succeeded   = setOf(cleanup.NotifySucceeded)
	bypassed    = setOf(cleanup.NotifyBypassed)
	paused      = setOf(cleanup.NotifyPaused)
	unprotected = setOf(cleanup.NotifyUnprotected)

	// alerting are the kinds that need attention.
	alerting = unprotected | failed | blocked | late | bypassed | paused
	// lasting are the kinds that need an operator while they hold.
	lasting = failed | blocked | late | paused
)

// each calls do for each kind of the set, in the order of cleanup.NotificationKinds.
func (k kinds) each(do func(cleanup.NotificationKind, kinds)) {
	for i, kind := range cleanup.NotificationKinds() {
		if bit := kinds(1 << i); k&bit != 0 {
			do(kind, bit)
		}
	}
}

// MarshalText returns the names, such as "Failed,Started".
func (k kinds) MarshalText() ([]byte, error) {
	var names []string
	k.each(func(kind cleanup.NotificationKind, _ kinds) { names = append(names, string(kind)) })
	return []byte(strings.Join(names, ",")), nil
}

// UnmarshalText reads the names. It ignores those of later versions.
func (k *kinds) UnmarshalText(text []byte) error {
	*k = 0
	for name := range strings.SplitSeq(string(text), ",") {
		*k |= setOf(cleanup.NotificationKind(name))
	}
	return nil
}
