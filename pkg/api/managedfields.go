package api

import (
	"bytes"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DataWrittenAt returns when the data of a ConfigMap was written last, by the API server's clock, in
// whole seconds. It is zero if no writer of the data is known: users may clear managedFields.
func DataWrittenAt(configMap *corev1.ConfigMap) time.Time {
	var newest time.Time
	for _, entry := range configMap.ManagedFields {
		if entry.Time == nil || !entry.Time.After(newest) || entry.FieldsV1 == nil {
			continue
		}
		var fields map[string]json.RawMessage
		if json.Unmarshal(entry.FieldsV1.Raw, &fields) != nil { // An invalid entry shows nothing.
			continue
		}
		if _, wrote := fields["f:data"]; wrote {
			newest = entry.Time.Time
		}
	}
	return newest
}

// WroteSpec reports whether the writer of the entry set that field of the object's spec,
// such as "nodeName".
func WroteSpec(entry metav1.ManagedFieldsEntry, field string) bool {
	key := "f:" + field
	if entry.FieldsV1 == nil || !bytes.Contains(entry.FieldsV1.Raw, []byte(key)) {
		return false
	}
	var fields struct {
		Spec map[string]json.RawMessage `json:"f:spec"`
	}
	if json.Unmarshal(entry.FieldsV1.Raw, &fields) != nil { // An invalid entry shows nothing.
		return false
	}
	_, wrote := fields.Spec[key]
	return wrote
}
