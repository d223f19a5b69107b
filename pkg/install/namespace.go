package install

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// removeNamespace deletes the namespace if install created it, and waits until it is deleted.
func (r *Remover) removeNamespace(ctx context.Context, namespace string) error {
	namespaces := kindNamed("Namespace").client(r.Objects, "")
	home, err := namespaces.Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading namespace %s: %w", namespace, err)
	}
	if !ours(home) {
		r.say("namespace %s is kept: install did not create it", namespace)
		return nil
	}
	if err := r.delete(ctx, Object{kind: kindNamed("Namespace"), Name: namespace}); err != nil {
		return err
	}
	var remaining api.NamespaceBlocker
	watched := cluster.Dynamic(namespaces, "namespace "+namespace, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", namespace).String()})
	err = cluster.Watcher{Report: r.Report}.Until(ctx, func(context.Context) (bool, error) {
		live := watched.Named(namespace)
		remaining = blockerOf(live)
		return live == nil, nil
	}, watched)
	if errors.Is(err, context.DeadlineExceeded) {
		return &NamespaceLeftError{Namespace: namespace, Holding: remaining, err: err}
	}
	if err != nil {
		return fmt.Errorf("waiting for namespace %s to be deleted: %w", namespace, err)
	}
	return nil
}

// NamespaceLeftError: everything else is deleted, but the deletion of the namespace does not complete.
type NamespaceLeftError struct {
	Namespace string
	// Holding describes the remaining content that the namespace controller reports.
	Holding api.NamespaceBlocker
	err     error
}

// Error names the remaining content.
func (e *NamespaceLeftError) Error() string {
	holding := e.Holding.Message
	if holding == "" {
		holding = "the namespace controller has not reported the cause, or is not running"
	}
	return fmt.Sprintf("waiting for namespace %s to be deleted (all other objects are deleted): %s: %v", e.Namespace, holding, e.err)
}

// Unwrap returns the end of the context.
func (e *NamespaceLeftError) Unwrap() error { return e.err }

// NamespaceTerminatingError: the namespace is being deleted, so nothing can be created in it.
type NamespaceTerminatingError struct {
	Namespace string
	// Holding describes the remaining content that the namespace controller reports.
	Holding api.NamespaceBlocker
}

// Error names the blocker of the namespace.
func (e *NamespaceTerminatingError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("installing into namespace %s: %v: %s", e.Namespace, ErrTerminating, e.Holding.Message), ": ")
}

// Unwrap returns ErrTerminating.
func (e *NamespaceTerminatingError) Unwrap() error { return ErrTerminating }

// blockerOf returns the blocker of a namespace's deletion, nothing if the namespace is deleted.
func blockerOf(namespace *unstructured.Unstructured) api.NamespaceBlocker {
	if namespace == nil {
		return api.NamespaceBlocker{}
	}
	var typed corev1.Namespace
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(namespace.Object, &typed); err != nil {
		return api.NamespaceBlocker{Message: fmt.Sprintf("its conditions cannot be read: %v", err)}
	}
	return api.NamespaceBlockerOf(typed.Status.Conditions)
}
