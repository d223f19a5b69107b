package admission

import (
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
	response.PatchType, response.Patch = ptr.To(admissionv1.PatchTypeJSONPatch), addNext
	if len(node.Finalizers) == 0 {
		response.Patch = addFirst
	}
	return "patched", response
}

// addFirst and addNext are the JSON patches (RFC 6902) that add our finalizer to a Node
// that has none, and behind those that it has.
var (
	addFirst = []byte(`[{"op":"add","path":"/metadata/finalizers","value":["` + api.Finalizer + `"]}]`)
	addNext  = []byte(`[{"op":"add","path":"/metadata/finalizers/-","value":"` + api.Finalizer + `"}]`)
)
