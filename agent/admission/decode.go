package admission

import (
	"github.com/go-json-experiment/json"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// review is the part of an AdmissionReview that the webhooks use. A Node is about 15 KiB, most
// of which are its images; the decoder only checks the syntax of those.
type review struct {
	metav1.TypeMeta `json:",inline"`
	Request         *request `json:"request"`
}

type request struct {
	UID         types.UID                   `json:"uid"`
	Kind        metav1.GroupVersionKind     `json:"kind"`
	Resource    metav1.GroupVersionResource `json:"resource"`
	SubResource string                      `json:"subResource"`
	Operation   admissionv1.Operation       `json:"operation"`
	DryRun      bool                        `json:"dryRun"`
	UserInfo    struct {
		Username string   `json:"username"`
		Groups   []string `json:"groups"`
	} `json:"userInfo"`
	// Object is the Node of a creation.
	Object struct {
		Metadata *metadata `json:"metadata"`
	} `json:"object"`
	// OldObject is the Node of a deletion. Nothing of it is used but its identity: the guard
	// decides on the live Node.
	OldObject struct {
		Metadata *identity `json:"metadata"`
	} `json:"oldObject"`
}

// metadata is what decides whether a new Node gets the finalizer.
type metadata struct {
	Labels            map[string]string `json:"labels"`
	Finalizers        []string          `json:"finalizers"`
	DeletionTimestamp *metav1.Time      `json:"deletionTimestamp"`
}

type identity struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
}

// decode reads a review. Like the API server, it takes names as they are written. It refuses
// what a lenient decoder could read differently than the API server: duplicate names and
// invalid UTF-8, anywhere in the text.
func decode(body []byte) (*review, error) {
	var r review
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	return &r, nil
}
