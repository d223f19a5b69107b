package admission

import (
	"encoding/json"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Review answers a checked request: always yes, with our finalizer added to a
// selected Node that lacks it. The result is "patched" or "unchanged".
func Review(request *admissionv1.AdmissionRequest, selector labels.Selector) (result string, response *admissionv1.AdmissionResponse) {
	response = &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}
	node := request.Object.Object.(*metav1.PartialObjectMetadata)
	if !api.NeedsFinalizer(node) || !selector.Matches(labels.Set(node.Labels)) {
		return "unchanged", response
	}
	response.PatchType = ptr.To(admissionv1.PatchTypeJSONPatch)
	response.Patch = patch(node)
	return "patched", response
}

// patch returns the JSON patch (RFC 6902) that adds our finalizer behind those
// that the Node has.
func patch(node *metav1.PartialObjectMetadata) []byte {
	operation := map[string]any{"op": "add", "path": "/metadata/finalizers/-", "value": api.Finalizer}
	if len(node.Finalizers) == 0 {
		operation["path"], operation["value"] = "/metadata/finalizers", []string{api.Finalizer}
	}
	data, err := json.Marshal([]any{operation})
	if err != nil {
		panic(fmt.Sprintf("encoding strings cannot fail: %v", err))
	}
	return data
}
