package api

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BrakeKey is the key of the brake's state in the status ConfigMap.
const BrakeKey = "brake.json"

// Brake is the state of the brake and the maintenance windows. The leader stores it, and the next
// leader continues with it.
type Brake struct {
	// Since is the time when the brake was engaged, nil while it is released. Reason is the cause.
	Since  *metav1.Time `json:"since,omitempty"`
	Reason string       `json:"reason,omitempty"`
	// ReleasedAt is when it was last released. Earlier events do not engage it again.
	ReleasedAt *metav1.Time `json:"releasedAt,omitempty"`
	// Alerts are the firing alerts that engaged the brake, or that fired when it was released.
	// Each must stop before it can engage the brake again. AlertsError is the cause why the agent
	// cannot read the alerts.
	Alerts      []string `json:"alerts,omitempty"`
	AlertsError string   `json:"alertsError,omitempty"`
	// WindowOpensAt is when the next maintenance window opens, nil while cleanups may begin.
	WindowOpensAt *metav1.Time `json:"windowOpensAt,omitempty"`
}

// BrakeOf reads the state of the brake from the status ConfigMap. It returns the zero value if no leader
// has stored one.
func BrakeOf(status *corev1.ConfigMap) (Brake, error) {
	var brake Brake
	text, stored := status.Data[BrakeKey]
	if !stored {
		return brake, nil
	}
	if err := json.Unmarshal([]byte(text), &brake); err != nil {
		return Brake{}, fmt.Errorf("decoding the state of the brake in configmap %s/%s: %w", status.Namespace, status.Name, err)
	}
	return brake, nil
}

// Engaged reports whether the brake is engaged and no operator has resumed since.
func (b Brake) Engaged(pause Pause) bool {
	return b.Since != nil && !pause.resumedAfter(b.Since.Time)
}

// resumedAfter reports whether the newest request is a resume at that time or later.
func (p Pause) resumedAfter(at time.Time) bool { return !p.Paused && !p.At.Before(at) }

// String returns why a Node waits while the brake is engaged.
func (b Brake) String() string {
	if b.Since == nil {
		return ""
	}
	return fmt.Sprintf("brake engaged at %s: %s", b.Since.UTC().Format(time.RFC3339), b.Reason)
}
