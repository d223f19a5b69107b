package admission

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// review decides about a checked request: always yes, with our finalizer added to a
// selected Node that lacks it. The result is "patched" or "unchanged".
func review(request *admissionv1.AdmissionRequest, selector labels.Selector) (result string, answer reply) {
	node := request.Object.Object.(*metav1.PartialObjectMetadata)
	switch {
	case !api.NeedsFinalizer(node) || !selector.Matches(labels.Set(node.Labels)):
		return "unchanged", unchanged
	case len(node.Finalizers) == 0:
		return "patched", addFirst
	}
	return "patched", addNext
}

// The answers: as it is, or with the JSON patch (RFC 6902) that adds our finalizer to a
// Node that has none, or behind those that it has.
var (
	unchanged = newReply("")
	addFirst  = newReply(`[{"op":"add","path":"/metadata/finalizers","value":["` + api.Finalizer + `"]}]`)
	addNext   = newReply(`[{"op":"add","path":"/metadata/finalizers/-","value":"` + api.Finalizer + `"}]`)
)

// reply is an answer that is the same for every request but for its UID: encoding it each
// time would take as long as reading the Node's metadata.
type reply struct{ beforeUID, afterUID []byte }

func newReply(patch string) reply {
	const uid = "UID"
	response := &admissionv1.AdmissionResponse{UID: uid, Allowed: true}
	if patch != "" {
		response.PatchType, response.Patch = ptr.To(admissionv1.PatchTypeJSONPatch), []byte(patch)
	}
	encoded, err := json.Marshal(answer{reviewType, response})
	before, after, found := bytes.Cut(encoded, []byte(`"`+uid+`"`))
	if err != nil || !found {
		panic("an answer of the webhook cannot be encoded")
	}
	return reply{before, after}
}

// write answers the request of that UID.
func (r reply) write(writer http.ResponseWriter, uid types.UID) error {
	whole, err := jsontext.AppendQuote(bytes.Clone(r.beforeUID), uid)
	if err != nil {
		return err
	}
	writer.Header().Set("Content-Type", contentType)
	_, err = writer.Write(append(whole, r.afterUID...))
	return err
}
