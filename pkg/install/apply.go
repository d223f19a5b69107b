package install

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Action is the result of applying one object.
type Action string

// Results of applying an object.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	// Kept means that the object on the cluster belongs to the operator and was not changed.
	Kept Action = "kept"
	// Deleted: the object belongs to no install with these options.
	Deleted Action = "deleted"
	// LeftOut: the server does not know the kind, and the install does without.
	LeftOut Action = "left out"
	// Unchecked: a server dry run cannot check it, its namespace does not exist yet.
	Unchecked Action = "not checked"
)

// Result describes one applied object.
type Result struct {
	Action Action
	// Object is the object that the server returned. For Unchecked and Deleted, it is the rendered
	// object.
	Object *unstructured.Unstructured
	// Before is the object before the install; nil if it did not exist.
	Before *unstructured.Unstructured
	// Note explains the action if it is not obvious.
	Note string
}

// Name returns "deployment.apps/nodecleanup-agent", as kubectl writes it.
func (r Result) Name() string {
	return objectName(r.Object.GroupVersionKind(), r.Object.GetName())
}

// ErrTerminating: the namespace is being deleted, so nothing can be made in it.
var ErrTerminating = errors.New("it is being deleted")

// Applier applies rendered objects by server-side apply with the field manager
// api.FieldManager.
type Applier struct {
	Objects dynamic.Interface
	// DryRun makes the server check everything and store nothing.
	DryRun bool
	// ForceConflicts takes over fields that another client has changed. Without
	// it such a change is a conflict, and the install stops there.
	ForceConflicts bool
	// Report, if there is one, is called with each result as it comes.
	Report func(Result)
}

// Apply makes the cluster match the options. After an error it returns the objects that it has
// applied. They stay, and Apply can be repeated.
func (a Applier) Apply(ctx context.Context, options Options) ([]Result, error) {
	objects, err := Render(ctx, options)
	if err != nil {
		return nil, err
	}
	stored := options.toStore()
	options = options.withDefaults()
	if options.Config == nil {
		// The kustomization of the user sets the config.
		if options.Config, err = options.ConfigBrought(objects); err != nil {
			return nil, err
		}
	}
	var results []Result
	add := func(result Result) {
		results = append(results, result)
		if a.Report != nil {
			a.Report(result)
		}
	}
	before, err := a.recorded(ctx, options.Namespace)
	if err != nil {
		return nil, err
	}
	var now []entry
	for _, object := range objects {
		now = append(now, entryOf(object))
	}
	var begun Result
	namespaced := true // whether the namespace exists
	for i, object := range objects {
		if i == 1 && namespaced {
			// Recorded before an object is created, so that an interrupted install can find it
			// again.
			if begun, err = a.record(ctx, options.Namespace, union(before, now), stored); err != nil {
				return results, err
			}
		}
		live, resource, err := a.read(ctx, object)
		if err != nil {
			return results, err
		}
		if object.GetKind() == "Namespace" {
			namespaced = live != nil || !a.DryRun
			if live != nil && live.GetDeletionTimestamp() != nil {
				return results, &NamespaceTerminatingError{Namespace: live.GetName(), Holding: blockerOf(live)}
			}
		}
		if !namespaced && object.GetNamespace() == options.Namespace {
			add(Result{Action: Unchecked, Object: object, Note: "its namespace does not exist yet"})
			continue
		}
		if note := preserve(object, live, options); note != "" {
			add(Result{Action: Kept, Object: live, Before: live, Note: note})
			continue
		}
		force := a.ForceConflicts || isConfig(object)
		applied, err := resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{
			FieldManager: api.FieldManager, Force: force, DryRun: a.dryRun(),
		})
		if live != nil && portsRefused(object, err) {
			if !force {
				return results, &PortsError{Service: object.GetName(), err: err}
			}
			applied, err = a.replacePorts(ctx, resource, object, live)
		}
		if note := options.Admission.skipUnknownKind(object, err); note != "" {
			add(Result{Action: LeftOut, Object: object, Note: note})
			continue
		}
		if err != nil {
			return results, fmt.Errorf("applying %s: %w", objectName(object.GroupVersionKind(), object.GetName()), err)
		}
		add(Result{Action: difference(live, applied), Object: applied, Before: live})
	}
	if err := a.prune(ctx, before, now, options.AgentURL != "", add); err != nil {
		return results, err
	}
	if !namespaced {
		return results, nil
	}
	result, err := a.record(ctx, options.Namespace, now, stored)
	if err != nil {
		return results, err
	}
	switch {
	case begun.Before == nil:
		result.Action, result.Before = Created, nil
	case result.Action == Unchanged:
		result.Action, result.Before = begun.Action, begun.Before
	}
	add(result)
	return results, nil
}

// preserve decides whether the object on the cluster stays unchanged, and returns the reason. It
// also copies into the object the operator's changes that these options do not set.
func preserve(object, live *unstructured.Unstructured, options Options) string {
	if live == nil {
		return ""
	}
	switch {
	case object.GetKind() == "Namespace" && !ours(live):
		// Labelling it would put Pod Security on other people's pods, and
		// make uninstall delete it.
		return "it existed before and is not ours: users who may create Pods in it can act as the agent, which reads its Secrets"
	case isConfig(object) && options.Config == nil:
		return "it may have been edited; --config replaces it, and a kustomization that changes it"
	case object.GetKind() == "Deployment" && options.Replicas == nil:
		// Left out, a field that we applied before would fall back to the
		// API's default of 1.
		if replicas, found, _ := unstructured.NestedInt64(live.Object, "spec", "replicas"); found {
			_ = unstructured.SetNestedField(object.Object, replicas, "spec", "replicas")
		}
	}
	return ""
}

func isConfig(object *unstructured.Unstructured) bool {
	return object.GetKind() == "ConfigMap" && object.GetName() == api.ConfigName
}

func (a Applier) read(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, dynamic.ResourceInterface, error) {
	kind, err := kindOf(object.GroupVersionKind())
	if err != nil {
		return nil, nil, err
	}
	resource := kind.client(a.Objects, object.GetNamespace())
	live, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, resource, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", objectName(object.GroupVersionKind(), object.GetName()), err)
	}
	return live, resource, nil
}

func (a Applier) dryRun() []string {
	if a.DryRun {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// difference compares an object before and after. A dry run returns the old resourceVersion even
// if it would change the object, so the contents are compared.
func difference(before, after *unstructured.Unstructured) Action {
	if before == nil {
		return Created
	}
	if equality.Semantic.DeepEqual(trim(before), trim(after)) {
		return Unchanged
	}
	return Configured
}

func trim(object *unstructured.Unstructured) map[string]any {
	stripped := maps.Clone(object.Object)
	delete(stripped, "status")
	if metadata, is := stripped["metadata"].(map[string]any); is {
		metadata = maps.Clone(metadata)
		for _, bookkeeping := range []string{"managedFields", "resourceVersion", "generation"} {
			delete(metadata, bookkeeping)
		}
		stripped["metadata"] = metadata
	}
	return stripped
}
