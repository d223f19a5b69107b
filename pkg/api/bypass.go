package api

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// UnknownUser is the display name of an unknown user.
const UnknownUser = "an unknown user"

// BypassAnnotations returns the annotations by which BypassOf decides.
func BypassAnnotations() []string {
	return []string{AnnotationBypass, AnnotationBypassBy, AnnotationBypassReason, AnnotationBypassUntil}
}

// Bypass describes the bypass of a Node: whether it is released without cleanup when it is
// deleted, and by which user.
type Bypass struct {
	// Active: the annotation is set and has not expired.
	Active bool
	// Reason in the operator's words, and By the operator's name; empty when none was given.
	Reason, By string
	// Until is when the bypass ends, zero if it has no end.
	Until time.Time
}

// BypassOf reads the bypass annotations of a Node at a time. An invalid value, such as a malformed
// time, is an error and never an active bypass: in doubt the finalizer stays.
func BypassOf(object metav1.Object, now time.Time) (Bypass, error) {
	annotations := object.GetAnnotations()
	value, set := annotations[AnnotationBypass]
	if !set {
		return Bypass{}, nil
	}
	bypass := Bypass{Reason: annotations[AnnotationBypassReason], By: annotations[AnnotationBypassBy]}
	wanted, err := strconv.ParseBool(value)
	if err != nil {
		return bypass, fmt.Errorf("reading annotation %s: %q is neither true nor false", AnnotationBypass, value)
	}
	if until, limited := annotations[AnnotationBypassUntil]; limited {
		if bypass.Until, err = time.Parse(time.RFC3339, until); err != nil {
			return bypass, fmt.Errorf("reading annotation %s: %q is not an RFC 3339 time such as 2026-01-31T04:00:00Z", AnnotationBypassUntil, until)
		}
		wanted = wanted && now.Before(bypass.Until)
	}
	bypass.Active = wanted
	return bypass, nil
}

// Who returns the user who set the bypass.
func (b Bypass) Who() string { return cmp.Or(b.By, UnknownUser) }

// String returns the user, the end and the reason of the bypass.
func (b Bypass) String() string {
	text := "bypass by " + b.Who()
	if b.Until.IsZero() {
		text += ", without an end"
	} else {
		text += " until " + b.Until.UTC().Format(time.RFC3339)
	}
	if b.Reason == "" {
		return text + ", without a reason"
	}
	return text + ": " + b.Reason
}
