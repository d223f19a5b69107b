package api

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDataWrittenAt(t *testing.T) {
	first := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	entry := func(after time.Duration, fields string) metav1.ManagedFieldsEntry {
		at := metav1.NewTime(first.Add(after))
		return metav1.ManagedFieldsEntry{Time: &at, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}
	}
	for name, test := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    time.Time
	}{
		"nothing known":       {},
		"the newest":          {[]metav1.ManagedFieldsEntry{entry(0, `{"f:data":{}}`), entry(time.Minute, `{"f:data":{"f:run":{}}}`), entry(time.Second, `{"f:data":{}}`)}, first.Add(time.Minute)},
		"labels only":         {[]metav1.ManagedFieldsEntry{entry(0, `{"f:data":{}}`), entry(time.Minute, `{"f:metadata":{"f:labels":{}}}`)}, first},
		"an entry in another": {[]metav1.ManagedFieldsEntry{entry(0, `{"f:metadata":{"f:data":{}}}`)}, time.Time{}},
		"an invalid entry":    {[]metav1.ManagedFieldsEntry{entry(0, `{`), {}}, time.Time{}},
	} {
		if got := DataWrittenAt(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{ManagedFields: test.entries}}); !got.Equal(test.want) {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
