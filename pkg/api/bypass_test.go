package api

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestBypassTextNamesUserEndAndReason(t *testing.T) {
	for want, annotations := range map[string]map[string]string{
		"bypass by an unknown user, without an end, without a reason": {AnnotationBypass: "true"},
		"bypass by alice until 2026-01-31T04:00:00Z: hardware lost": {
			AnnotationBypass: "true", AnnotationBypassBy: "alice", AnnotationBypassUntil: "2026-01-31T05:00:00+01:00", AnnotationBypassReason: "hardware lost",
		},
	} {
		if bypass, err := BypassOf(&metav1.ObjectMeta{Annotations: annotations}, time.Time{}); err != nil || bypass.String() != want {
			t.Errorf("it is %q, %v; want %q", bypass, err, want)
		}
	}
}

func TestBypassOf(t *testing.T) {
	now := time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		annotations map[string]string
		active      bool
		problem     string
	}{
		"none":                {nil, false, ""},
		"true":                {map[string]string{AnnotationBypass: "true"}, true, ""},
		"false":               {map[string]string{AnnotationBypass: "false"}, false, ""},
		"neither":             {map[string]string{AnnotationBypass: "perhaps"}, false, `"perhaps" is neither true nor false`},
		"empty":               {map[string]string{AnnotationBypass: ""}, false, `"" is neither true nor false`},
		"not expired":         {map[string]string{AnnotationBypass: "true", AnnotationBypassUntil: "2026-01-31T04:00:01Z"}, true, ""},
		"expired":             {map[string]string{AnnotationBypass: "true", AnnotationBypassUntil: "2026-01-31T04:00:00Z"}, false, ""},
		"end cannot be read":  {map[string]string{AnnotationBypass: "true", AnnotationBypassUntil: "tomorrow"}, false, "not an RFC 3339 time"},
		"a reason is not one": {map[string]string{AnnotationBypassReason: "because"}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bypass, err := BypassOf(&metav1.ObjectMeta{Annotations: test.annotations}, now)
			if bypass.Active != test.active {
				t.Errorf("active is %v", bypass.Active)
			}
			if (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Errorf("error is %v, want %q", err, test.problem)
			}
		})
	}
}
