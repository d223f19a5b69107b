package admission

import (
	"github.com/go-json-experiment/json"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// message is what is read of an AdmissionReview: all that is looked at. A Node is about
// 15 KiB, most of which are its images; those are only seen to be JSON.
type message struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Request    *request `json:"request"`
}

type request struct {
	UID         types.UID                   `json:"uid"`
	Resource    metav1.GroupVersionResource `json:"resource"`
	SubResource string                      `json:"subResource"`
	Operation   admissionv1.Operation       `json:"operation"`
	Object      struct {
		Metadata *metadata `json:"metadata"`
	} `json:"object"`
}

type metadata struct {
	Name              string            `json:"name"`
	Labels            map[string]string `json:"labels"`
	Finalizers        []string          `json:"finalizers"`
	DeletionTimestamp *metav1.Time      `json:"deletionTimestamp"`
}

// decode reads a review in one pass. It refuses what a lenient reader could take for
// something else than the API server does: a name twice, text that is no UTF-8.
func decode(body []byte) (*admissionv1.AdmissionReview, error) {
	var asked message
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, err
	}
	review := &admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: asked.APIVersion, Kind: asked.Kind}}
	if asked.Request == nil {
		return review, nil
	}
	review.Request = &admissionv1.AdmissionRequest{
		UID: asked.Request.UID, Resource: asked.Request.Resource, SubResource: asked.Request.SubResource, Operation: asked.Request.Operation,
	}
	if meta := asked.Request.Object.Metadata; meta != nil {
		review.Request.Object.Object = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: meta.Name, Labels: meta.Labels, Finalizers: meta.Finalizers, DeletionTimestamp: meta.DeletionTimestamp,
		}}
	}
	return review, nil
}
