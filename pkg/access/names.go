package access

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// NamesEnforced reports whether the API server denies a bypass, a retry or a cleanup in the name of
// another user: the admission policy of this version is installed and bound. Else the names on
// Nodes are not verified.
func NamesEnforced(ctx context.Context, client kubernetes.Interface) (bool, error) {
	policy, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(ctx, api.WebhookName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading validatingadmissionpolicy %s: %w", api.WebhookName, err)
	}
	binding, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Get(ctx, api.WebhookName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading validatingadmissionpolicybinding %s: %w", api.WebhookName, err)
	}
	names := slices.ContainsFunc(policy.Spec.Validations, func(validation admissionv1.Validation) bool {
		return strings.Contains(validation.Expression, "'"+api.AnnotationBypassBy+"'") && strings.Contains(validation.Expression, "request.userInfo.username")
	})
	return names && binding.Spec.PolicyName == api.WebhookName && slices.Contains(binding.Spec.ValidationActions, admissionv1.Deny), nil
}
