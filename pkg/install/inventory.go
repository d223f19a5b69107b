package install

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// The inventory lists the applied objects, so that a later install with fewer objects can delete
// the others. An object is pruned only if it is in the inventory and carries our label: with the
// label alone, an object of a user could be deleted.
const (
	inventoryName = "nodecleanup-inventory"
	inventoryKey  = "objects.json"
)

// entry names one object of the inventory.
type entry struct {
	Group     string `json:"group,omitempty"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

func entryOf(object *unstructured.Unstructured) entry {
	gvk := object.GroupVersionKind()
	return entry{gvk.Group, gvk.Version, gvk.Kind, object.GetNamespace(), object.GetName()}
}

func (e entry) object() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: e.Group, Version: e.Version, Kind: e.Kind})
	object.SetNamespace(e.Namespace)
	object.SetName(e.Name)
	return object
}

// inventory returns the ConfigMap that lists the entries, and the options that were given.
func inventory(namespace string, entries []entry, stored PreviousOptions) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(entries)
	if err != nil {
		return nil, fmt.Errorf("writing the inventory: %w", err)
	}
	options, err := json.Marshal(stored)
	if err != nil {
		return nil, fmt.Errorf("writing the options into the inventory: %w", err)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": inventoryName, "namespace": namespace,
			"labels": map[string]any{
				api.LabelName: api.LabelNameValue, "app.kubernetes.io/part-of": api.LabelNameValue,
				"app.kubernetes.io/component": "inventory", labelManagedBy: api.FieldManager,
			},
		},
		"data": map[string]any{inventoryKey: string(data), optionsKey: string(options)},
	}}, nil
}

// recorded reads the inventory. It is empty if there is none.
func (a Applier) recorded(ctx context.Context, namespace string) ([]entry, error) {
	live, err := kindNamed("ConfigMap").client(a.Objects, namespace).Get(ctx, inventoryName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the inventory: %w", err)
	}
	data, _, err := unstructured.NestedString(live.Object, "data", inventoryKey)
	if err != nil {
		return nil, fmt.Errorf("reading the inventory: %w", err)
	}
	return entriesIn(data, namespace)
}

func entriesIn(data, namespace string) ([]entry, error) {
	var entries []entry
	if err := json.Unmarshal([]byte(data), &entries); err != nil {
		return nil, fmt.Errorf("reading the inventory in configmap %s/%s: %w", namespace, inventoryName, err)
	}
	return entries, nil
}

// StepNamespaces returns the namespaces in which the previous install, into this namespace, gave the
// agent a Role for configured steps. There are none without an inventory.
func StepNamespaces(ctx context.Context, client kubernetes.Interface, namespace string) ([]string, error) {
	live, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, inventoryName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the inventory: %w", err)
	}
	entries, err := entriesIn(live.Data[inventoryKey], namespace)
	if err != nil {
		return nil, err
	}
	var namespaces []string
	for _, one := range entries {
		if one.Group == rbacv1.GroupName && one.Kind == "Role" && one.Name == api.AgentSteps {
			namespaces = append(namespaces, one.Namespace)
		}
	}
	return namespaces, nil
}

// record writes the inventory.
func (a Applier) record(ctx context.Context, namespace string, entries []entry, stored PreviousOptions) (Result, error) {
	object, err := inventory(namespace, entries, stored)
	if err != nil {
		return Result{}, err
	}
	live, resource, err := a.read(ctx, object)
	if err != nil {
		return Result{}, err
	}
	const itIsOurs = true
	applied, err := resource.Apply(ctx, inventoryName, object, metav1.ApplyOptions{FieldManager: api.FieldManager, Force: itIsOurs, DryRun: a.dryRun()})
	if err != nil {
		return Result{}, fmt.Errorf("writing the inventory: %w", err)
	}
	return Result{Action: difference(live, applied), Object: applied, Before: live}, nil
}

// union returns the entries of both, each once.
func union(before, now []entry) []entry {
	all := slices.Clone(now)
	for _, one := range before {
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

// whyPruned returns why an object of an earlier install is deleted. An agent outside the cluster has the same roles as
// one in it: the config decides which it needs.
func (e entry) whyPruned(outside bool) string {
	if outside && e.Group != rbacv1.GroupName {
		return "the agent runs outside the cluster"
	}
	return "no install with these options has it"
}

// prune deletes the objects that an earlier install applied and this install does not.
func (a Applier) prune(ctx context.Context, before, now []entry, outside bool, add func(Result)) error {
	for _, old := range before {
		if slices.Contains(now, old) || old.Kind == "Namespace" {
			continue
		}
		object := old.object()
		live, resource, err := a.read(ctx, object)
		if err != nil {
			return err
		}
		if live == nil || !ours(live) {
			continue
		}
		background := metav1.DeletePropagationBackground
		err = resource.Delete(ctx, old.Name, metav1.DeleteOptions{PropagationPolicy: &background, DryRun: a.dryRun()})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting %s: %w", objectName(object.GroupVersionKind(), old.Name), err)
		}
		add(Result{Action: Deleted, Object: object, Before: live, Note: old.whyPruned(outside)})
	}
	return nil
}
