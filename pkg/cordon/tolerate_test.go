package cordon

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTolerationsOfACordon(t *testing.T) {
	const key = corev1.TaintNodeUnschedulable
	for _, test := range []struct {
		toleration corev1.Toleration
		want       bool
	}{
		{corev1.Toleration{Operator: corev1.TolerationOpExists}, true},
		{corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}, true},
		{corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}, false},
		{corev1.Toleration{Operator: corev1.TolerationOpEqual}, false},
		{corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists}, true},
		{corev1.Toleration{Key: key}, true},
		{corev1.Toleration{Key: key, Value: "x"}, false},
		{corev1.Toleration{Key: "other", Operator: corev1.TolerationOpExists}, false},
	} {
		if got := Tolerated(&corev1.Pod{Spec: corev1.PodSpec{Tolerations: []corev1.Toleration{test.toleration}}}); got != test.want {
			t.Errorf("%+v: %v, want %v", test.toleration, got, test.want)
		}
	}
}

func TestCordonTimeIsReadFromManagedFields(t *testing.T) {
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	wrote := func(fields string, after time.Duration) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Time: &metav1.Time{Time: noon.Add(after)}, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}
	}
	for name, test := range map[string]struct {
		cordoned bool
		fields   []metav1.ManagedFieldsEntry
		want     time.Time
	}{
		"cordoned":               {true, []metav1.ManagedFieldsEntry{wrote(`{"f:metadata":{"f:labels":{"f:unschedulable":{}}}}`, time.Hour), wrote(`{"f:spec":{"f:unschedulable":{}}}`, 0)}, noon},
		"uncordoned":             {false, []metav1.ManagedFieldsEntry{wrote(`{"f:spec":{"f:unschedulable":{}}}`, 0)}, time.Time{}},
		"without managed fields": {true, nil, time.Time{}},
		"invalid managed fields": {true, []metav1.ManagedFieldsEntry{wrote(`"f:unschedulable"`, 0), {}}, time.Time{}},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{ManagedFields: test.fields}, Spec: corev1.NodeSpec{Unschedulable: test.cordoned}}
		if got := At(node); !got.Equal(test.want) {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
