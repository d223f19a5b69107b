package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Object is an object that can be listed and watched.
type Object interface {
	runtime.Object
	metav1.Object
}

// Objects is a local copy of the objects of one kind, which a Watcher keeps up to date. They
// are of one namespace, or of none.
type Objects[T Object] struct {
	// What names the objects in errors.
	What  string
	List  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	Watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	// Trim, if set, removes unused fields before an object is stored.
	Trim func(T) T
	// Matters, if set, reports whether a change is one to look at.
	Matters func(before, after T) bool

	store cache.Store
}

// Nodes returns a copy of Nodes to be watched.
func Nodes(client kubernetes.Interface, selected metav1.ListOptions) *Objects[*corev1.Node] {
	nodes := client.CoreV1().Nodes()
	return &Objects[*corev1.Node]{
		What: "nodes",
		List: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return nodes.List(ctx, selecting(options, selected))
		},
		Watch: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return nodes.Watch(ctx, selecting(options, selected))
		},
	}
}

// ConfigMaps returns a copy of ConfigMaps to be watched.
func ConfigMaps(client kubernetes.Interface, namespace, what string, selected metav1.ListOptions) *Objects[*corev1.ConfigMap] {
	configMaps := client.CoreV1().ConfigMaps(namespace)
	return &Objects[*corev1.ConfigMap]{
		What: what,
		List: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return configMaps.List(ctx, selecting(options, selected))
		},
		Watch: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return configMaps.Watch(ctx, selecting(options, selected))
		},
	}
}

// Dynamic returns a copy of objects of any kind to be watched.
func Dynamic(resource dynamic.ResourceInterface, what string, selected metav1.ListOptions) *Objects[*unstructured.Unstructured] {
	return &Objects[*unstructured.Unstructured]{
		What: what,
		List: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return resource.List(ctx, selecting(options, selected))
		},
		Watch: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, selecting(options, selected))
		},
	}
}

func selecting(options, selected metav1.ListOptions) metav1.ListOptions {
	options.FieldSelector, options.LabelSelector = selected.FieldSelector, selected.LabelSelector
	return options
}

// All returns every object, in no order.
func (o *Objects[T]) All() []T {
	var all []T
	for _, object := range o.store.List() {
		all = append(all, object.(T))
	}
	return all
}

// Named returns an object by its name, or nil.
func (o *Objects[T]) Named(name string) T {
	object, found, _ := o.store.GetByKey(name)
	if !found {
		var none T
		return none
	}
	return object.(T)
}

// run keeps the copy up to date until ctx ends. It reports each result of the API server.
func (o *Objects[T]) run(ctx context.Context, changed func(filled bool), answered func(error)) {
	o.store = cache.NewStore(func(object any) (string, error) {
		if deleted, is := object.(cache.DeletedFinalStateUnknown); is {
			object = deleted.Obj
		}
		return object.(T).GetName(), nil
	})
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			if options.ResourceVersion == "0" {
				options.ResourceVersion = "" // The list must contain the caller's own writes.
			}
			list, err := o.List(ctx, options)
			if err != nil {
				err = fmt.Errorf("listing %s: %w", o.What, err)
			}
			answered(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			watcher, err := o.Watch(ctx, options)
			switch {
			case err == nil:
				answered(nil)
			case options.SendInitialEvents != nil && !apierrors.IsTooManyRequests(err):
				// The reflector lists instead.
			default:
				answered(fmt.Errorf("watching %s: %w", o.What, err))
			}
			return watcher, err
		},
	}
	cache.NewReflectorWithOptions(source, nil, reflected[T]{o, changed}, cache.ReflectorOptions{TypeDescription: o.What, Backoff: &wait.Backoff{Duration: retryAfter, Factor: 1, Steps: 1}}).RunWithContext(ctx)
}

// reflected is the store of a reflector.
type reflected[T Object] struct {
	*Objects[T]
	changed func(filled bool)
}

// Transformer trims objects as they come.
func (r reflected[T]) Transformer() cache.TransformFunc {
	return func(object any) (any, error) { return r.trimmed(object), nil }
}

func (r reflected[T]) trimmed(object any) any {
	if one, is := object.(T); is && r.Trim != nil {
		return r.Trim(one)
	}
	return object
}

// Add stores an object.
func (r reflected[T]) Add(object any) error { return r.set(object) }

// Update stores an object.
func (r reflected[T]) Update(object any) error { return r.set(object) }

func (r reflected[T]) set(object any) error {
	after, is := r.trimmed(object).(T)
	if !is {
		return fmt.Errorf("got %T among %s", object, r.What)
	}
	before, found, _ := r.store.GetByKey(after.GetName())
	if err := r.store.Add(after); err != nil {
		return err
	}
	if !found || r.Matters == nil || r.Matters(before.(T), after) {
		r.changed(false)
	}
	return nil
}

// Delete removes an object.
func (r reflected[T]) Delete(object any) error {
	err := r.store.Delete(object)
	r.changed(false)
	return err
}

// Replace stores a complete list.
func (r reflected[T]) Replace(objects []any, resourceVersion string) error {
	for i := range objects {
		objects[i] = r.trimmed(objects[i])
	}
	err := r.store.Replace(objects, resourceVersion)
	r.changed(true)
	return err
}

// Resync has nothing to do.
func (r reflected[T]) Resync() error { return nil }
