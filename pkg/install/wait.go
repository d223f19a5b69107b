package install

import (
	"context"
	"errors"
	"fmt"
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
	// Report, if set, is called with a sentence whenever the awaited state changes.
	Report func(string)
}

// Wait returns when the agent of the install is available, its CA is published in the webhooks,
// new Nodes get the finalizer, and one replica leads. It waits until ctx ends. Then the error
// names the missing part.
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
	if err := w.waitForAdmission(ctx, options.Namespace); err != nil || options.AgentURL != "" {
		return err
	}
	return w.leader(ctx, options.Namespace)
}

// leader waits until a Pod of the new version has written the agent's status. Right after an
// upgrade, the status is still written by the old leader.
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
			return "no replica is the leader yet", nil
		}
		pod, err := kindNamed("Pod").client(w.Objects, namespace).Get(ctx, status.Leader, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) || err == nil && pod.GetDeletionTimestamp() != nil:
			return "leader " + status.Leader + " is terminating, and no new leader is elected yet", nil
		case err != nil:
			return "", fmt.Errorf("reading pod %s/%s: %w", namespace, status.Leader, err)
		}
		return "", nil
	})
}

// ErrStopped: the agent is scaled to 0, so that nothing would ever be there to wait for.
var ErrStopped = errors.New("the agent is scaled to 0 replicas")

// StalledError is why the agent did not become available.
type StalledError struct {
	*cluster.Stall
	Err error
}

// Error implements error.
func (e *StalledError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the wait.
func (e *StalledError) Unwrap() error { return e.Err }

// lookAgain is how often the agent's Pods are read while its Deployment does not change.
const lookAgain = time.Second

func (w Waiter) agent(ctx context.Context, namespace string) error {
	var stall *cluster.Stall
	err := w.until(ctx, "Deployment", namespace, api.Agent, func(object *unstructured.Unstructured) (string, error) {
		deployment := &appsv1.Deployment{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, deployment); err != nil {
			return "", fmt.Errorf("reading its status: %w", err)
		}
		if wanted := deployment.Spec.Replicas; wanted != nil && *wanted == 0 {
			return "", ErrStopped
		}
		lacks := cluster.RolloutPending(deployment)
		if lacks == "" {
			return "", nil
		}
		if stall = cluster.RolloutStall(deployment, w.pods(ctx, namespace)); stall != nil {
			lacks += ": " + stall.Text
		}
		return lacks, nil
	})
	if err != nil && stall != nil {
		return &StalledError{stall, err}
	}
	return err
}

// pods returns the agent's Pods. Read errors are ignored: the Pods only explain the state, and the
// Deployment decides.
func (w Waiter) pods(ctx context.Context, namespace string) []corev1.Pod {
	list, err := kindNamed("Pod").client(w.Objects, namespace).List(ctx, metav1.ListOptions{LabelSelector: ourSelector()})
	if err != nil {
		return nil
	}
	pods := make([]corev1.Pod, len(list.Items))
	for i, item := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &pods[i]); err != nil {
			return nil
		}
	}
	return pods
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
	err := cluster.Watcher{Report: w.Report, Recheck: lookAgain}.Until(ctx, func(context.Context) (bool, error) {
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
