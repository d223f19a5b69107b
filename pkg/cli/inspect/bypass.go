package inspect

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/printer"
)

// Bypass returns the bypass that is set on a live node at the given time, nil if there is none.
func Bypass(node *corev1.Node, now time.Time) *printer.Bypass {
	bypass, err := api.BypassOf(node, now)
	if err != nil || !bypass.Active || node.DeletionTimestamp != nil {
		return nil
	}
	view := &printer.Bypass{Node: node.Name, By: bypass.By, Reason: bypass.Reason}
	if !bypass.Until.IsZero() {
		view.Until = &metav1.Time{Time: bypass.Until}
	}
	return view
}

// shownAnnotations returns the request for a cleanup, and the annotations by which BypassOf decides. It is
// nil if neither is set.
func shownAnnotations(node *corev1.Node) map[string]string {
	keys := []string{api.AnnotationCleanupRequestedAt}
	if _, set := node.Annotations[api.AnnotationBypass]; set {
		keys = append(keys, api.BypassAnnotations()...)
	}
	var kept map[string]string
	for _, key := range keys {
		if value, set := node.Annotations[key]; set {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	return kept
}
