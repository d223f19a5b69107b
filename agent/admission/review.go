package admission

import (
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// The JSON patches (RFC 6902) that add the finalizer to a Node without finalizers, or behind
// those that it has.
var (
	addFirst = []byte(`[{"op":"add","path":"/metadata/finalizers","value":["` + api.Finalizer + `"]}]`)
	addNext  = []byte(`[{"op":"add","path":"/metadata/finalizers/-","value":"` + api.Finalizer + `"}]`)
)

// answerCreation allows a creation, and adds the finalizer to a selected Node that lacks it.
// The result is "patched" or "unchanged".
func answerCreation(request *request, selector labels.Selector) (result string, response *admissionv1.AdmissionResponse) {
	node := request.Object.Metadata
	response = &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}
	if request.DryRun {
		response.Warnings = []string{api.DryRunWarning(api.WebhookHook)}
	}
	meta := &metav1.ObjectMeta{Finalizers: node.Finalizers, DeletionTimestamp: node.DeletionTimestamp}
	if !api.NeedsFinalizer(meta) || !selector.Matches(labels.Set(node.Labels)) {
		return "unchanged", response
	}
	response.PatchType, response.Patch = ptr.To(admissionv1.PatchTypeJSONPatch), addFirst
	if len(node.Finalizers) > 0 {
		response.Patch = addNext
	}
	return "patched", response
}
