package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Protected reports whether the Node is annotated so that the delete guard refuses its
// deletion. A value that is not a boolean protects, and is an error to report: in doubt the
// Node stays.
func Protected(object metav1.Object) (bool, error) {
	value, set := object.GetAnnotations()[AnnotationProtect]
	if !set {
		return false, nil
	}
	wanted, err := strconv.ParseBool(value)
	if err != nil {
		return true, fmt.Errorf("annotation %s is %q, neither true nor false", AnnotationProtect, value)
	}
	return wanted, nil
}

// BreakGlass describes whether the delete guard allows a deletion that its rules deny.
type BreakGlass struct {
	// Active: a reason is given, and the end has not come.
	Active bool
	// Reason in the operator's words.
	Reason string
	Until  time.Time
}

// BreakGlassOf reads the break-glass annotations of a Node at a time. An expired or invalid one is
// an error and never active. Without annotations it returns no error.
func BreakGlassOf(object metav1.Object, now time.Time) (BreakGlass, error) {
	annotations := object.GetAnnotations()
	reason, set := annotations[AnnotationBreakGlass]
	until, limited := annotations[AnnotationBreakGlassUntil]
	if !set && !limited {
		return BreakGlass{}, nil
	}
	glass := BreakGlass{Reason: strings.TrimSpace(reason)}
	if glass.Reason == "" {
		return glass, fmt.Errorf("annotation %s gives no reason", AnnotationBreakGlass)
	}
	if !limited {
		return glass, fmt.Errorf("annotation %s is missing, which says when it ends", AnnotationBreakGlassUntil)
	}
	var err error
	if glass.Until, err = time.Parse(time.RFC3339, until); err != nil {
		return glass, fmt.Errorf("annotation %s is %q, which is not an RFC 3339 time such as 2026-01-31T04:00:00Z", AnnotationBreakGlassUntil, until)
	}
	if glass.Active = now.Before(glass.Until); !glass.Active {
		return glass, fmt.Errorf("it expired at %s", glass.Until.UTC().Format(time.RFC3339))
	}
	return glass, nil
}

// Deletion names the user who deleted a Node, as the delete guard recorded it.
type Deletion struct {
	// Node is the name of the Node.
	Node string           `json:"node"`
	User string           `json:"user"`
	At   metav1.MicroTime `json:"at"`
	// Verified: the caller that named the user authenticated as an API server. Every other
	// caller can forge the name.
	Verified bool `json:"verified,omitempty"`
}

// maxDeletionAge is the maximum difference between a recorded deletion and the deletion timestamp
// of the Node, including the difference between two clocks. A recorded request that did not delete
// the Node must not be attributed to its user.
const maxDeletionAge = time.Minute

// Explains reports whether this is the deletion of a terminating Node with the same UID.
func (d Deletion) Explains(object metav1.Object) bool {
	deleted := object.GetDeletionTimestamp()
	return deleted != nil && deleted.Sub(d.At.Time).Abs() <= maxDeletionAge
}

// String returns the user, and that the name is not verified if it is not.
func (d Deletion) String() string { return userName(d.User, d.Verified) }

// Requester returns the display name of the user who deleted the Node or requested its cleanup. It
// is empty if the user is unknown.
func (r *Run) Requester() string {
	return userName(r.RequestedBy, r.RequestedByVerified)
}

// Bypasser returns the display name of the user who bypassed the cleanup. It is empty if the user
// is unknown.
func (r *Run) Bypasser() string { return userName(r.BypassedBy, r.BypassedByVerified) }

// Retrier returns the display name of the user who requested the newest retry. It is empty if the
// user is unknown.
func (r *Run) Retrier() string { return userName(r.RetryRequestedBy, r.RetryRequestedByVerified) }

// userName returns a user, and that the name is not verified if it is not.
func userName(user string, verified bool) string {
	if verified || user == "" {
		return user
	}
	return user + " (unverified)"
}
