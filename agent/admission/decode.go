package admission

import (
	"fmt"

	"github.com/go-json-experiment/json"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
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
	Object node `json:"object"`
	// OldObject is the Node of a deletion. The guard decides on the live Node; labels and
	// annotations of this one can only deny.
	OldObject node `json:"oldObject"`
}

// node has more fields than the webhooks use: a review in which one of them has another type is
// not from an API server.
type node struct {
	Metadata *metadata `json:"metadata"`
	Spec     struct {
		Unschedulable bool           `json:"unschedulable"`
		Taints        []corev1.Taint `json:"taints"`
	} `json:"spec"`
}

type metadata struct {
	Name              string            `json:"name"`
	UID               types.UID         `json:"uid"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	Finalizers        []string          `json:"finalizers"`
	DeletionTimestamp *metav1.Time      `json:"deletionTimestamp"`
}

// maxDepth limits how deep the values in a creation are nested. A Node has a dozen levels.
const maxDepth = 100

// decodeCreation reads a review of a creation. A review of a deletion has no limit but that of
// the decoder, 10,000 levels: an API server can send a Node whose managedFields are nested, and
// with failurePolicy Ignore it deletes a Node whose review was refused.
func decodeCreation(body []byte) (*review, error) {
	if deeper(body, maxDepth) {
		return nil, fmt.Errorf("values are nested to a depth of more than %d", maxDepth)
	}
	return decode(body)
}

// deeper reports whether the values in a JSON text are nested deeper than limit.
func deeper(text []byte, limit int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			quoted = !quoted
		case '\\':
			i++ // The next byte does not end the string. Outside of one, the text is invalid.
		case '{', '[':
			if !quoted {
				depth++
			}
		case '}', ']':
			if !quoted {
				depth--
			}
		}
		if depth > limit {
			return true
		}
	}
	return false
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
