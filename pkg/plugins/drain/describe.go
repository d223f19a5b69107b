package drain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// describe names the pods that are waited for, blocked ones first.
func (d *drain) describe(left []*corev1.Pod) string {
	const named = 3
	type line struct{ pod, why string }
	var lines []line
	for _, pod := range left {
		why := ""
		if known := d.tries[pod.UID]; known != nil {
			why = known.blocked
		}
		if pod.DeletionTimestamp != nil && len(pod.Finalizers) > 0 {
			why = "terminating, held by finalizer " + strings.Join(pod.Finalizers, ", ")
		}
		lines = append(lines, line{nameOf(pod), why})
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		if (a.why == "") != (b.why == "") {
			return cmp.Compare(len(b.why), len(a.why))
		}
		return cmp.Compare(a.pod, b.pod)
	})
	var texts []string
	for _, line := range lines[:min(named, len(lines))] {
		text := line.pod
		if line.why != "" {
			text += " (" + line.why + ")"
		}
		texts = append(texts, text)
	}
	if len(lines) > named {
		texts = append(texts, "…")
	}
	noun := "pods"
	if len(left) == 1 {
		noun = "pod"
	}
	return fmt.Sprintf("%d %s left: %s", len(left), noun, strings.Join(texts, ", "))
}
