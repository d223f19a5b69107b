package install

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// Waiter waits until an install works.
type Waiter struct {
	Objects dynamic.Interface
	// Report, if there is one, is called with a sentence whenever what is
	// waited for has changed.
	Report func(string)
}

// Wait returns when the agent of an install with these options is available, has
// published its CA in the webhooks, new Nodes get the finalizer, and one replica leads, so that Nodes
// that are deleted are cleaned up. It waits as long as the context lives; the error then says what was
// still missing.
func (w Waiter) Wait(ctx context.Context, options Options) error {
	options = options.withDefaults()
	if options.AgentURL == "" {
		if err := w.agent(ctx, options.Namespace); err != nil {
			return err
		}
	}
	if options.Admission != AdmissionPolicy {
		if err := w.webhook(ctx, "MutatingWebhookConfiguration"); err != nil {
			return err
		}
	}
	if err := w.webhook(ctx, "ValidatingWebhookConfiguration"); err != nil {
		return err
	}
	if err := w.answers(ctx, options.Namespace); err != nil || options.AgentURL != "" {
		return err
	}
	return w.leader(ctx, options.Namespace)
}

// leader waits until the agent's status is written by a pod that is there to stay: for a moment after an
// upgrade it is still that of the old version's leader.
func (w Waiter) leader(ctx context.Context, namespace string) error {
	return w.until(ctx, "ConfigMap", namespace, api.StatusName, func(object *unstructured.Unstructured) (string, error) {
		text, _, err := unstructured.NestedString(object.Object, "data", api.StatusKey)
		if err != nil {
			return "", fmt.Errorf("reading the agent's status: %w", err)
		}
		status, err := api.DecodeStatus(&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: api.StatusName}, Data: map[string]string{api.StatusKey: text},
		})
		if err != nil {
			return "", err
		}
		if status.Leader == "" {
			return "no replica leads yet", nil
		}
		pod, err := kindNamed("Pod").client(w.Objects, namespace).Get(ctx, status.Leader, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) || err == nil && pod.GetDeletionTimestamp() != nil:
			return "it is of " + status.Leader + ", which ends; no other replica leads yet", nil
		case err != nil:
			return "", fmt.Errorf("reading pod %s/%s: %w", namespace, status.Leader, err)
		}
		return "", nil
	})
}

// ErrStopped: the agent is scaled to 0, so that nothing would ever be there to wait for.
var ErrStopped = errors.New("the agent is scaled to 0 replicas")

func (w Waiter) agent(ctx context.Context, namespace string) error {
	err := w.until(ctx, "Deployment", namespace, api.Agent, func(object *unstructured.Unstructured) (string, error) {
		deployment := &appsv1.Deployment{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, deployment); err != nil {
			return "", fmt.Errorf("reading its status: %w", err)
		}
		if wanted := deployment.Spec.Replicas; wanted != nil && *wanted == 0 {
			return "", ErrStopped
		}
		return unavailable(deployment), nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		// The wait is over, the question why is not.
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookAfter)
		defer cancel()
		if problem := w.podProblem(late, namespace); problem != "" {
			return fmt.Errorf("%w (%s)", err, problem)
		}
	}
	return err
}

// lookAfter is how long to look for the reason when a wait was in vain.
const lookAfter = 5 * time.Second

// unavailable says what a Deployment lacks to be rolled out, as kubectl rollout
// status sees it; empty when nothing.
func unavailable(deployment *appsv1.Deployment) string {
	wanted := int32(1)
	if deployment.Spec.Replicas != nil {
		wanted = *deployment.Spec.Replicas
	}
	status := deployment.Status
	switch {
	case status.ObservedGeneration < deployment.Generation:
		return "the new version was not seen yet by the deployment controller"
	case status.UpdatedReplicas < wanted:
		return fmt.Sprintf("%d of %d updated", status.UpdatedReplicas, wanted)
	case status.AvailableReplicas < wanted:
		return fmt.Sprintf("%d of %d available", status.AvailableReplicas, wanted)
	case status.Replicas > wanted:
		return fmt.Sprintf("%d of the old version still there", status.Replicas-wanted)
	}
	return ""
}

// podProblem says why one of the agent's pods does not start, or nothing. What
// cannot be read is left out: it is a hint, and the Deployment decides.
func (w Waiter) podProblem(ctx context.Context, namespace string) string {
	list, err := kindNamed("Pod").client(w.Objects, namespace).List(ctx, metav1.ListOptions{LabelSelector: ourSelector()})
	if err != nil {
		return ""
	}
	for _, item := range list.Items {
		pod := &corev1.Pod{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, pod); err != nil {
			return ""
		}
		if reason := whyNotRunning(pod); reason != "" {
			return fmt.Sprintf("pod %s: %s", pod.Name, reason)
		}
	}
	return ""
}

func whyNotRunning(pod *corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		waiting := status.State.Waiting
		if waiting == nil || waiting.Reason == "ContainerCreating" || waiting.Reason == "PodInitializing" {
			continue
		}
		return strings.TrimSuffix(waiting.Reason+": "+firstLine(waiting.Message), ": ")
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return firstLine(condition.Message)
		}
	}
	return ""
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func (w Waiter) webhook(ctx context.Context, kind string) error {
	return w.until(ctx, kind, "", api.WebhookName, func(object *unstructured.Unstructured) (string, error) {
		missing := ""
		err := eachMap(object.Object, func(webhook map[string]any) error {
			if bundle, _, _ := unstructured.NestedString(webhook, "clientConfig", "caBundle"); bundle == "" {
				missing = "the agent has not published its CA in it yet"
			}
			return nil
		}, "webhooks")
		return missing, err
	})
}

// until waits for one object about which missing has nothing left to say.
func (w Waiter) until(ctx context.Context, kindName, namespace, name string, missing func(*unstructured.Unstructured) (string, error)) error {
	kind := kindNamed(kindName)
	what := objectName(kind.GroupVersionKind, name)
	said := ""
	objects := cluster.Dynamic(kind.client(w.Objects, namespace), what, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(),
	})
	err := cluster.Watcher{Report: w.Report}.Until(ctx, func(context.Context) (bool, error) {
		lacks := "it does not exist"
		if object := objects.Named(name); object != nil {
			var err error
			if lacks, err = missing(object); err != nil {
				return false, err
			}
		}
		if lacks != "" && lacks != said && w.Report != nil {
			w.Report("waiting for " + what + ": " + lacks)
		}
		said = lacks
		return lacks == "", nil
	}, objects)
	if errors.Is(err, context.DeadlineExceeded) && said != "" {
		return fmt.Errorf("waiting for %s: %s: %w", what, said, err)
	}
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", what, err)
	}
	return nil
}

// ourSelector selects everything that carries our label.
func ourSelector() string {
	return labels.Set{api.LabelName: api.LabelNameValue}.String()
}
