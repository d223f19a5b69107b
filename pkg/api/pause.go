package api

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pause describes whether cleanups may begin. Running cleanups continue.
type Pause struct {
	// Paused: no cleanup begins.
	Paused bool
	// By is the user who last paused or resumed, At the time, Reason the user's reason. They are
	// empty before the first pause.
	By, Reason string
	At         time.Time
}

// PauseOf reads the annotations of the status ConfigMap. An invalid value pauses.
func PauseOf(status metav1.Object) Pause {
	annotations := status.GetAnnotations()
	pause := Pause{By: annotations[AnnotationPauseBy], Reason: annotations[AnnotationPauseReason]}
	if at, err := time.Parse(time.RFC3339, annotations[AnnotationPauseAt]); err == nil { // An invalid time is not shown.
		pause.At = at.UTC()
	}
	if value, set := annotations[AnnotationPause]; set {
		paused, err := strconv.ParseBool(value)
		if pause.Paused = paused || err != nil; err != nil {
			pause.Reason = fmt.Sprintf("the value %q of annotation %s is neither true nor false", value, AnnotationPause)
		}
	}
	return pause
}

// Who returns the user who paused or resumed.
func (p Pause) Who() string { return cmp.Or(p.By, UnknownUser) }

// String returns why a Node waits, "" if cleanups are not paused.
func (p Pause) String() string {
	if !p.Paused {
		return ""
	}
	text := "cleanups paused by " + p.Who()
	if !p.At.IsZero() {
		text += " at " + p.At.UTC().Format(time.RFC3339)
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}
