package drain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/access"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// blockedError reports that a Pod cannot be evicted now, but may be later.
type blockedError struct {
	cause  api.BlockedCause
	reason string
	// after is the delay that the API server asks for, 0 for none.
	after time.Duration
}

func (e blockedError) Error() string { return e.reason }

// evict requests the eviction of one Pod. nil means that the Pod terminates or is deleted. The UID is a
// precondition: a StatefulSet creates its Pod again under the same name, and the new one must not be
// evicted.
func (p *plugin) evict(ctx context.Context, pod *corev1.Pod, grace *int64, dryRun bool) error {
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: deleteOptions(pod, grace),
	}
	options := &metav1.CreateOptions{}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	// MaxRetries(0): while a budget's status is stale the server says
	// Retry-After, and client-go would sleep on that up to ten times inside
	// the call.
	err := p.client.CoreV1().RESTClient().Post().
		Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").
		VersionedParams(options, scheme.ParameterCodec).Body(eviction).MaxRetries(0).
		Do(ctx).Error()
	remedy := ""
	if failure := api.FailureOf(err); failure.Kind != api.NamespaceTerminating {
		remedy = failure.Remedy()
	}
	err = classify(err)
	var blocked blockedError
	if remedy == "" || !errors.As(err, &blocked) {
		return err
	}
	if dryRun {
		return remediedError{err, remedy}
	}
	blocked.reason += "; " + remedy
	return blocked
}

// remediedError is an error with its remedy.
type remediedError struct {
	error
	remedy string
}

func (e remediedError) Unwrap() error { return e.error }

// delete deletes the Pod whatever its budgets say. If that is forbidden, it requests an eviction
// instead: a missing right must not fail a drain that can continue within the budgets.
func (p *plugin) delete(ctx context.Context, pod *corev1.Pod, grace *int64) (evicted bool, err error) {
	err = classify(p.client.CoreV1().RESTClient().Delete().
		Namespace(pod.Namespace).Resource("pods").Name(pod.Name).
		Body(deleteOptions(pod, grace)).MaxRetries(0).
		Do(ctx).Error())
	if !apierrors.IsForbidden(err) {
		return false, err
	}
	reason := access.Lacking("delete pods") + " (kubectl nodecleanup check prints the repair)"
	if allowed, askErr := access.Self(p.client)(ctx, access.Right{Verb: "delete", Resource: "pods", Namespace: pod.Namespace}); allowed || askErr != nil {
		reason = "deleting it is denied: " + oneLine(err)
	}
	err = p.evict(ctx, pod, grace, false)
	var blocked blockedError
	if errors.As(err, &blocked) {
		blocked.reason += "; forceAfter has passed, but " + reason
		err = blocked
	}
	return true, err
}

func deleteOptions(pod *corev1.Pod, grace *int64) *metav1.DeleteOptions {
	return &metav1.DeleteOptions{GracePeriodSeconds: grace, Preconditions: &metav1.Preconditions{UID: &pod.UID}}
}

// classify interprets the API server's response: nil if the Pod terminates or is deleted, a
// blockedError if a later request may succeed, and otherwise an error that waiting does not fix.
func classify(err error) error {
	if err == nil || api.Absent(err) {
		return nil
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return blockedError{cause: api.BlockedByNamespace, reason: "its namespace is terminating"} // The namespace controller deletes the Pod.
	}
	seconds, _ := apierrors.SuggestsClientDelay(err)
	after := time.Duration(seconds) * time.Second
	// Beside the usual 429 there is a 403, while the budget's controller is behind.
	if cause, is := apierrors.StatusCause(err, policyv1.DisruptionBudgetCause); is {
		return blockedError{api.BlockedByBudget, cause.Message, after}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return blockedError{api.BlockedByServer, oneLine(err), 0} // The API server was not reached.
	}
	switch failure := api.FailureOf(err); failure.Kind {
	case api.WebhookDenied, api.PolicyDenied:
		// Also webhooks that move a Pod by their own means, and deny its eviction until that is done.
		return blockedError{api.BlockedByAdmission, oneLine(err), after}
	case api.WebhookFailed:
		return blockedError{api.BlockedByWebhook, oneLine(err), after}
	}
	switch code := status.Status().Code; {
	case code == 409:
		// The Pod was replaced under its name, which the watch will report, or the Pod changed
		// faster than the API server could evict it.
		return blockedError{api.BlockedByServer, "the pod changed during the eviction", after}
	case code == 429, code >= 500:
		// Also a budget that many evict under.
		if strings.Contains(err.Error(), "more than one PodDisruptionBudget") {
			return blockedError{api.BlockedByBudgets, "more than one budget selects it, which the eviction API does not support: delete all but one", after}
		}
		return blockedError{api.BlockedByServer, oneLine(err), after}
	}
	return err
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func nameOf(pod *corev1.Pod) string { return fmt.Sprintf("%s/%s", pod.Namespace, pod.Name) }
