package api

import (
	"bytes"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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
