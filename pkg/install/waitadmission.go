package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// waitForAdmission waits until new Nodes get the finalizer, which it checks by dry-run creations.
// The Service of an agent reaches it only a moment after the agent is ready.
func (w Waiter) waitForAdmission(ctx context.Context, namespace string) error {
	const what = "a new node to get the finalizer (dry run)"
	node := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"generateName": "nodecleanup-install-"},
	}}
	chosen, err := w.protectedLabels(ctx, namespace)
	if err != nil {
		w.say("not checking whether new nodes get the finalizer: %v", err)
		return nil
	}
	node.SetLabels(chosen)
	missing, said := "", ""
	var forbidden error
	err = wait.PollUntilContextCancel(ctx, askAgain, true, func(ctx context.Context) (bool, error) {
		made, err := w.Objects.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).
			Create(ctx, node, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: api.FieldManager})
		switch {
		case apierrors.IsForbidden(err):
			forbidden = err
			return true, nil
		case err != nil:
			missing = "the API server refuses it: " + err.Error()
		case !api.HasFinalizer(made):
			missing = "the finalizer is missing: the API server cannot reach the agent"
		default:
			return true, nil
		}
		if missing != said {
			w.say("waiting for %s: %s", what, missing)
		}
		said = missing
		return false, nil
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded) && missing != "":
		return fmt.Errorf("waiting for %s: %s (check: kubectl -n %s get endpointslices,pods): %w", what, missing, namespace, err)
	case err != nil:
		return fmt.Errorf("waiting for %s: %w", what, err)
	case forbidden != nil:
		w.say("cannot check whether new nodes get the finalizer: %v", forbidden)
	}
	return nil
}

// protectedLabels returns labels of a Node that the nodeSelector of the config matches.
func (w Waiter) protectedLabels(ctx context.Context, namespace string) (labels.Set, error) {
	object, err := kindNamed("ConfigMap").client(w.Objects, namespace).Get(ctx, api.ConfigName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the config: %w", err)
	}
	text, _, err := unstructured.NestedString(object.Object, "data", api.ConfigKey)
	if err != nil {
		return nil, fmt.Errorf("reading the config: %w", err)
	}
	var settings struct {
		NodeSelector metav1.LabelSelector `json:"nodeSelector"`
	}
	if err := yaml.Unmarshal([]byte(text), &settings); err != nil {
		return nil, fmt.Errorf("reading the config's nodeSelector: %w", err)
	}
	selector, err := metav1.LabelSelectorAsSelector(&settings.NodeSelector)
	if err != nil {
		return nil, fmt.Errorf("reading the config's nodeSelector: %w", err)
	}
	chosen, found := api.LabelsFor(selector)
	if !found {
		return nil, fmt.Errorf("cannot build a test node that matches the config's nodeSelector %q", selector)
	}
	return chosen, nil
}

func (w Waiter) say(format string, arguments ...any) {
	if w.Report != nil {
		w.Report(fmt.Sprintf(format, arguments...))
	}
}

// askAgain is how long after one Node that was not stored the next is tried.
const askAgain = 200 * time.Millisecond
