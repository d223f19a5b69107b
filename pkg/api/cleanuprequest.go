package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CleanupRequest identifies the request for the cleanup of a Node that is not deleted. The zero
// value is none.
type CleanupRequest struct {
	// At is the time of the request.
	At string
	// Plan is the hash of the only plan that the cleanup may run, empty for any.
	Plan string
}

// CleanupRequestOf returns the request that a Node has.
func CleanupRequestOf(node metav1.Object) CleanupRequest {
	annotations := node.GetAnnotations()
	request := CleanupRequest{At: annotations[AnnotationCleanupRequestedAt]}
	if request.At != "" {
		request.Plan = annotations[AnnotationCleanupRequestedPlan]
	}
	return request
}
