package install

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Admission selects the component that adds the finalizer to new Nodes.
type Admission string

// The ways to protect a Node from its first moment.
const (
	// AdmissionAuto installs both if the server supports the policy, and otherwise the webhook.
	AdmissionAuto Admission = "auto"
	// AdmissionWebhook installs only the webhook, which needs a running agent.
	AdmissionWebhook Admission = "webhook"
	// AdmissionPolicy installs only the policy, which needs Kubernetes 1.36.
	AdmissionPolicy Admission = "policy"
)

// Admissions are all values, for help and completion.
var Admissions = []Admission{AdmissionAuto, AdmissionWebhook, AdmissionPolicy}

func (a Admission) validate() error {
	switch a {
	case "", AdmissionAuto, AdmissionWebhook, AdmissionPolicy:
		return nil
	}
	return fmt.Errorf("admission must be %s, %s or %s, not %q", AdmissionAuto, AdmissionWebhook, AdmissionPolicy, string(a))
}

// leavesOut reports whether the object is not part of an install with that admission.
func (a Admission) leavesOut(object *unstructured.Unstructured) bool {
	switch a {
	case AdmissionWebhook:
		return mutates(object)
	case AdmissionPolicy:
		return object.GetKind() == "MutatingWebhookConfiguration"
	}
	return false
}

// mutates reports whether the object is the policy that puts the finalizer on, or its binding.
func mutates(object *unstructured.Unstructured) bool {
	return strings.HasPrefix(object.GetKind(), "MutatingAdmissionPolicy")
}

// skipUnknownKind returns a note if the server does not know the kind of an optional object, or
// "".
func (a Admission) skipUnknownKind(object *unstructured.Unstructured, err error) string {
	if (a == "" || a == AdmissionAuto) && mutates(object) && apierrors.IsNotFound(err) {
		return "this server has no mutating admission policies (Kubernetes 1.36 has), so the webhook protects new nodes alone"
	}
	return ""
}
