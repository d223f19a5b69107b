package api

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The messages come from an API server of Kubernetes 1.37.
func TestFailureOf(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	terminating := apierrors.NewForbidden(pods, "p", errors.New("unable to create new content in namespace shop because it is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	denied := &apierrors.StatusError{ErrStatus: metav1.Status{Code: 429, Message: `admission webhook "vm.example.com" denied the request: it is being migrated`}}
	for _, test := range []struct {
		err  error
		want Failure
	}{
		{nil, Failure{}},
		{errors.New(`failed calling webhook "x": no API server said so`), Failure{}},
		{apierrors.NewForbidden(pods, "p", errors.New("cannot delete")), Failure{}},
		{apierrors.NewInternalError(errors.New(`failed calling webhook "nodes.example.com": failed to call webhook: Post "https://x": connect: connection refused`)), Failure{WebhookFailed, "nodes.example.com"}},
		{denied, Failure{WebhookDenied, "vm.example.com"}},
		{apierrors.NewForbidden(pods, "p", errors.New("ValidatingAdmissionPolicy 'no-evictions' with binding 'all' denied request: no")), Failure{PolicyDenied, "no-evictions"}},
		{terminating, Failure{Kind: NamespaceTerminating}},
	} {
		err := test.err
		if err != nil {
			err = fmt.Errorf("evicting pod p: %w", err)
		}
		got := FailureOf(err)
		if got != test.want || (got.Remedy() == "") != (got.Kind == "") {
			t.Errorf("%v: got %+v, %q, want %+v", err, got, got.Remedy(), test.want)
		}
	}
}
