// Package watchtest tests that a live view draws nothing before its lists are complete.
package watchtest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// View runs a live view until ctx ends and calls drawn whenever the view shows something.
type View func(ctx context.Context, client kubernetes.Interface, drawn func())

// DrawsOnlyCompleteLists runs a view once for each resource that it watches, by its name in
// objects. The API server delivers the first half of that resource's list, and a minute later
// the other half. The view must draw after that, and not before.
func DrawsOnlyCompleteLists(t *testing.T, objects map[string][]runtime.Object, view View) {
	t.Helper()
	for late := range objects {
		t.Run(late, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset()
				var rest func()
				for resource, list := range objects {
					half := len(list)
					if resource == late {
						half = len(list) / 2
					}
					watcher := watch.NewRaceFreeFake()
					client.PrependWatchReactor(resource, func(clienttesting.Action) (bool, watch.Interface, error) {
						add(watcher, list[:half])
						if resource != late {
							complete(watcher, list)
						}
						return true, watcher, nil
					})
					if resource == late {
						rest = func() {
							add(watcher, list[half:])
							complete(watcher, list)
						}
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				drawn, ended := 0, make(chan struct{})
				go func() {
					defer close(ended)
					view(ctx, client, func() { drawn++ })
				}()
				<-time.After(time.Minute)
				synctest.Wait()
				if drawn > 0 {
					t.Errorf("it was drawn %d times before the list of %s was complete", drawn, late)
				}
				rest()
				<-time.After(time.Minute)
				cancel()
				<-ended
				if drawn == 0 {
					t.Errorf("it was not drawn after the list of %s was complete", late)
				}
			})
		})
	}
}

func add(watcher *watch.RaceFreeFakeWatcher, objects []runtime.Object) {
	for _, object := range objects {
		watcher.Add(object)
	}
}

// complete ends the initial list.
func complete(watcher *watch.RaceFreeFakeWatcher, objects []runtime.Object) {
	end := objects[0].DeepCopyObject()
	object := end.(metav1.Object)
	object.SetResourceVersion("1")
	object.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	watcher.Action(watch.Bookmark, end)
}
