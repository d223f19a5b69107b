package cordon

import (
	"bytes"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Tolerated reports whether the pod may be bound to a Node in spite of its cordon.
func Tolerated(pod *corev1.Pod) bool {
	for _, toleration := range pod.Spec.Tolerations {
		key := toleration.Key == corev1.TaintNodeUnschedulable || toleration.Key == ""
		effect := toleration.Effect == corev1.TaintEffectNoSchedule || toleration.Effect == ""
		// The taint has no value.
		value := toleration.Operator == corev1.TolerationOpExists || toleration.Key != "" && toleration.Value == ""
		if key && effect && value {
			return true
		}
	}
	return false
}

// At returns when the Node was cordoned, in whole seconds by the API server's clock, as who
// wrote the field did it last; zero for a Node that is not, or does not tell.
func At(node *corev1.Node) time.Time {
	var at time.Time
	if !node.Spec.Unschedulable {
		return at
	}
	for _, entry := range node.ManagedFields {
		if entry.Time == nil || entry.FieldsV1 == nil || !bytes.Contains(entry.FieldsV1.Raw, []byte("f:unschedulable")) {
			continue
		}
		var fields struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		if json.Unmarshal(entry.FieldsV1.Raw, &fields) != nil { // Then it tells nothing.
			continue
		}
		if _, wrote := fields.Spec["f:unschedulable"]; wrote && entry.Time.After(at) {
			at = entry.Time.Time
		}
	}
	return at
}
