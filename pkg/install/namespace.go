package install

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cluster"
)

// removeNamespace deletes the namespace if install made it, and waits for it to go.
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
		r.say("namespace %s stays: install did not make it", namespace)
		return nil
	}
	if err := r.delete(ctx, Object{kind: kindNamed("Namespace"), Name: namespace}); err != nil {
		return err
	}
	remaining := ""
	watched := cluster.Dynamic(namespaces, "namespace "+namespace, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", namespace).String()})
	err = cluster.Watcher{Report: r.Report}.Until(ctx, func(context.Context) (bool, error) {
		live := watched.Named(namespace)
		remaining = contentLeft(live)
		return live == nil, nil
	}, watched)
	if errors.Is(err, context.DeadlineExceeded) {
		return &NamespaceLeftError{Namespace: namespace, Holding: remaining, err: err}
	}
	if err != nil {
		return fmt.Errorf("waiting for namespace %s to go: %w", namespace, err)
	}
	return nil
}

// NamespaceLeftError: everything else is gone, but the namespace does not go.
type NamespaceLeftError struct {
	Namespace string
	// Holding is what the namespace controller says is left in it; empty when
	// it has said nothing, as it does where it does not run.
	Holding string
	err     error
}

// Error says what is left.
func (e *NamespaceLeftError) Error() string {
	holding := e.Holding
	if holding == "" {
		holding = "the namespace controller says nothing about it; perhaps none is running"
	}
	return fmt.Sprintf("waiting for namespace %s to go, the last thing that is left: %s: %v", e.Namespace, holding, e.err)
}

// Unwrap returns the end of the context.
func (e *NamespaceLeftError) Unwrap() error { return e.err }

// contentLeft returns what the namespace controller says about what is left.
func contentLeft(namespace *unstructured.Unstructured) string {
	if namespace == nil {
		return ""
	}
	conditions, _, _ := unstructured.NestedSlice(namespace.Object, "status", "conditions")
	for _, one := range conditions {
		condition, is := one.(map[string]any)
		if !is || condition["status"] != "True" {
			continue
		}
		if condition["type"] == "NamespaceContentRemaining" || condition["type"] == "NamespaceFinalizersRemaining" {
			return fmt.Sprint(condition["message"])
		}
	}
	return ""
}
