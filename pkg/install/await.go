package install

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/patience"
)

// await lists and watches the objects that the options select until reached
// says that they are as they should be. It is called with all of them, by name,
// after each change, and stops the wait by true or by an error. The end of
// the context ends the wait with the context's error. While the API server does not
// answer, which say is told, it waits on.
func await(ctx context.Context, resource dynamic.ResourceInterface, options metav1.ListOptions, say func(string), reached func(map[string]*unstructured.Unstructured) (bool, error)) error {
	wait := patience.Wait{Say: say}
	for {
		done, err := awaitRound(ctx, resource, options, func(present map[string]*unstructured.Unstructured) (bool, error) {
			wait.Answered()
			return reached(present)
		})
		if done && err == nil {
			return nil
		}
		// Without an error the watch ended by itself, as watches do.
		if err := wait.Try(ctx, err); err != nil {
			return err
		}
	}
}

func awaitRound(ctx context.Context, resource dynamic.ResourceInterface, options metav1.ListOptions, reached func(map[string]*unstructured.Unstructured) (bool, error)) (bool, error) {
	list, err := resource.List(ctx, options)
	if err != nil {
		return false, fmt.Errorf("listing: %w", err)
	}
	present := map[string]*unstructured.Unstructured{}
	for i := range list.Items {
		present[list.Items[i].GetName()] = &list.Items[i]
	}
	if done, err := reached(present); done || err != nil {
		return done, err
	}
	options.ResourceVersion = list.GetResourceVersion()
	watcher, err := resource.Watch(ctx, options)
	if err != nil {
		return false, fmt.Errorf("watching: %w", err)
	}
	return follow(ctx, watcher, present, reached)
}

func follow(ctx context.Context, watcher watch.Interface, present map[string]*unstructured.Unstructured, reached func(map[string]*unstructured.Unstructured) (bool, error)) (bool, error) {
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case event, open := <-watcher.ResultChan():
			object, is := event.Object.(*unstructured.Unstructured)
			if !open || !is {
				return false, nil
			}
			switch event.Type {
			case watch.Added, watch.Modified:
				present[object.GetName()] = object
			case watch.Deleted:
				delete(present, object.GetName())
			default: // an error such as "resource version too old"
				return false, nil
			}
			if done, err := reached(present); done || err != nil {
				return done, err
			}
		}
	}
}

func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
