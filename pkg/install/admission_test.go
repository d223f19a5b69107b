package install

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kubernetes before 1.36 answers 404 to a mutating admission policy.
func TestOlderServerFailsOnlyIfThePolicyIsRequired(t *testing.T) {
	unknown := apierrors.NewNotFound(schema.GroupResource{Group: "admissionregistration.k8s.io", Resource: "mutatingadmissionpolicies"}, "")
	of := func(kind string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"kind": kind}}
	}
	for name, test := range map[string]struct {
		admission Admission
		kind      string
		err       error
		without   bool
	}{
		"auto":            {AdmissionAuto, "MutatingAdmissionPolicy", unknown, true},
		"not given":       {"", "MutatingAdmissionPolicyBinding", unknown, true},
		"asked for":       {AdmissionPolicy, "MutatingAdmissionPolicy", unknown, false},
		"another kind":    {AdmissionAuto, "ValidatingAdmissionPolicy", unknown, false},
		"another error":   {AdmissionAuto, "MutatingAdmissionPolicy", errors.New("no route"), false},
		"no error at all": {AdmissionAuto, "MutatingAdmissionPolicy", nil, false},
	} {
		if note := test.admission.skipUnknownKind(of(test.kind), test.err); (note != "") != test.without {
			t.Errorf("%s: %q", name, note)
		}
	}
	if err := (Options{Admission: "both"}).Validate(); err == nil || !strings.Contains(err.Error(), `auto, webhook or policy, not "both"`) {
		t.Errorf("the error is %v", err)
	}
}
