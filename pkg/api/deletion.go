package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Protected reports whether the Node is annotated so that the delete guard refuses its
// deletion. A value that is no boolean protects, and is an error to be told: in doubt the
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

// BreakGlass says whether the delete guard lets a deletion through regardless.
type BreakGlass struct {
	// Active: a reason is given, and the end has not come.
	Active bool
	// Reason in the operator's words.
	Reason string
	Until  time.Time
}

// BreakGlassOf reads the break-glass annotations of a Node at a time. What is expired or
// cannot be read is an error and never active; without any there is neither.
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
		return glass, fmt.Errorf("annotation %s is %q, no RFC 3339 time such as 2026-01-31T04:00:00Z", AnnotationBreakGlassUntil, until)
	}
	if glass.Active = now.Before(glass.Until); !glass.Active {
		return glass, fmt.Errorf("it expired at %s", glass.Until.UTC().Format(time.RFC3339))
	}
	return glass, nil
}

// requestAge is how far what the delete guard noted may be from the deletion that it is
// about, clocks that differ included. A deletion that was noted and then did not come to be
// must not be laid at the door of whoever asked for it.
const requestAge = time.Minute

// DeletionRequestedBy returns who deleted a terminating Node, where the delete guard noted
// that; empty where it did not.
func DeletionRequestedBy(object metav1.Object) string {
	deleted := object.GetDeletionTimestamp()
	if deleted == nil {
		return ""
	}
	annotations := object.GetAnnotations()
	at, err := time.Parse(time.RFC3339, annotations[AnnotationDeletionRequestedAt])
	if err != nil || deleted.Sub(at).Abs() > requestAge {
		return ""
	}
	return annotations[AnnotationDeletionRequestedBy]
}
