package api

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPauseOf(t *testing.T) {
	for name, test := range map[string]struct {
		annotations map[string]string
		waits       string
	}{
		"never paused": {nil, ""},
		"paused": {map[string]string{
			AnnotationPause: "true", AnnotationPauseBy: "alice", AnnotationPauseAt: "2026-01-31T04:00:00Z", AnnotationPauseReason: "INC-7",
		}, "cleanups paused by alice at 2026-01-31T04:00:00Z: INC-7"},
		"resumed":                      {map[string]string{AnnotationPause: "false", AnnotationPauseBy: "bob", AnnotationPauseReason: "done"}, ""},
		"paused without user and time": {map[string]string{AnnotationPause: "true"}, "cleanups paused by an unknown user"},
		"invalid value":                {map[string]string{AnnotationPause: "ja"}, `cleanups paused by an unknown user: the value "ja" of annotation nodecleanup.io/pause is neither true nor false`},
		"invalid time":                 {map[string]string{AnnotationPause: "true", AnnotationPauseBy: "alice", AnnotationPauseAt: "noon"}, "cleanups paused by alice"},
	} {
		t.Run(name, func(t *testing.T) {
			if waits := PauseOf(&metav1.ObjectMeta{Annotations: test.annotations}).String(); waits != test.waits {
				t.Errorf("a node waits because %q, want %q", waits, test.waits)
			}
		})
	}
}
