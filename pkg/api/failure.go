package api

import (
	"errors"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// FailureKind is the kind of a Failure.
type FailureKind string

const (
	// WebhookFailed: the API server could not call an admission webhook.
	WebhookFailed FailureKind = "WebhookFailed"
	// WebhookDenied: an admission webhook denied the request.
	WebhookDenied FailureKind = "WebhookDenied"
	// PolicyDenied: a ValidatingAdmissionPolicy denied the request.
	PolicyDenied FailureKind = "PolicyDenied"
	// NamespaceTerminating: the namespace is being deleted, so nothing is created in it.
	NamespaceTerminating FailureKind = "NamespaceTerminating"
)

// Failure is the cause of a refused or failed request, unless it is the API server itself.
type Failure struct {
	// Kind is empty if the cause is the API server itself: missing rights, an invalid object, overload.
	Kind FailureKind
	// Name of the webhook or the policy.
	Name string
}

// The API server names the webhook or the policy only in the message: see
// k8s.io/apiserver/pkg/admission/plugin/webhook/errors/statuserror.go and
// k8s.io/apiserver/pkg/util/webhook/error.go.
var failures = []struct {
	kind    FailureKind
	message *regexp.Regexp
}{
	{WebhookFailed, regexp.MustCompile(`failed calling webhook "([^"]+)"`)},
	{WebhookDenied, regexp.MustCompile(`admission webhook "([^"]+)" (?:denied the request|attempted to modify)`)},
	{PolicyDenied, regexp.MustCompile(`ValidatingAdmissionPolicy '([^']+)' with binding '[^']*' denied request`)},
}

// FailureOf returns the failure that an API server's answer names. Any other error has none.
func FailureOf(err error) Failure {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return Failure{}
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return Failure{Kind: NamespaceTerminating}
	}
	for _, known := range failures {
		if match := known.message.FindStringSubmatch(status.Status().Message); match != nil {
			return Failure{Kind: known.kind, Name: match[1]}
		}
	}
	return Failure{}
}

// Remedy returns the remedy in one clause, empty if there is none besides the message.
func (f Failure) Remedy() string {
	switch f.Kind {
	case WebhookFailed:
		return "fix the service behind admission webhook " + f.Name + ", or delete its configuration if it is not needed"
	case WebhookDenied:
		return "ask the owner of admission webhook " + f.Name
	case PolicyDenied:
		return "see what the policy requires: kubectl describe validatingadmissionpolicy " + f.Name
	case NamespaceTerminating:
		return "wait until the namespace is deleted; to show what blocks its deletion: kubectl get namespace NAME -o jsonpath='{.status.conditions}'"
	}
	return ""
}
