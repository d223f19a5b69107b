package drain

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
)

// podWatch knows the pods of one Node from one list and a watch.
type podWatch struct {
	store   cache.Store
	changed chan struct{}
	stop    func()
}

// watch returns when the pods of the Node are known for the first time. The
// caller stops it.
func (p *plugin) watch(ctx context.Context, node string) (*podWatch, error) {
	watched := &podWatch{changed: make(chan struct{}, 1)}
	note := func() {
		select {
		case watched.changed <- struct{}{}:
		default: // One look is due already.
		}
	}
	source := cache.NewListWatchFromClient(p.client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, fields.OneTermEqualSelector("spec.nodeName", node))
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source,
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { note() },
			UpdateFunc: func(any, any) { note() },
			DeleteFunc: func(any) { note() },
		},
	})
	watching, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		informer.RunWithContext(watching)
	}()
	watched.store = store
	watched.stop = func() {
		stop()
		<-ended
	}
	if !cache.WaitForCacheSync(watching.Done(), informer.HasSynced) {
		watched.stop()
		return nil, fmt.Errorf("listing the pods of node %s: %w", node, context.Cause(ctx))
	}
	return watched, nil
}

// list returns the pods as they are known now, by namespace and name.
func (w *podWatch) list() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, object := range w.store.List() {
		pods = append(pods, object.(*corev1.Pod))
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods
}
