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
)

// blockedError: the pod cannot be evicted now, but may be later.
type blockedError struct {
	reason string
	// after is how long the API server asks to wait, 0 when it does not say.
	after time.Duration
}

func (e blockedError) Error() string { return e.reason }

// evict asks for the eviction of one pod. The UID is a precondition: a
// StatefulSet's pod comes back elsewhere under the same name, and must not be
// evicted there. nil means that the pod goes, or has gone.
func (p *plugin) evict(ctx context.Context, pod *corev1.Pod, grace *int64, dryRun bool) error {
	eviction := &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{
			GracePeriodSeconds: grace,
			Preconditions:      &metav1.Preconditions{UID: &pod.UID},
		},
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
	return understand(err)
}

// understand tells what the API server means by an answer to an eviction.
func understand(err error) error {
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		return nil // Another pod has the name by now.
	case apierrors.IsTooManyRequests(err):
		after, _ := apierrors.SuggestsClientDelay(err)
		return blockedError{budget(err), time.Duration(after) * time.Second}
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // The namespace controller deletes the pod.
	case apierrors.IsInternalError(err) && strings.Contains(err.Error(), "more than one PodDisruptionBudget"):
		return blockedError{"more than one budget selects it, which the eviction API does not support", 0}
	}
	return err
}

// budget returns what the API server says about the budget that blocks.
func budget(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, cause := range status.Status().Details.Causes {
			if cause.Type == policyv1.DisruptionBudgetCause {
				return cause.Message
			}
		}
	}
	return err.Error()
}

func nameOf(pod *corev1.Pod) string { return fmt.Sprintf("%s/%s", pod.Namespace, pod.Name) }
