package volumes

import (
	"cmp"
	"context"
	"slices"
	"sync"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// attachments follow every VolumeAttachment of the cluster while a step waits:
// the API server cannot select them by node (a field selector is answered by
// 400), and a list of all for each of fifty nodes would be fifty lists of all.
type attachments struct {
	client kubernetes.Interface

	mutex sync.Mutex
	open  *following
}

// following is one watch that all waiting steps share.
type following struct {
	informer cache.SharedIndexInformer
	cancel   context.CancelFunc
	users    int
	// refused is called, once, with the reason why the API server does not let us list.
	refused chan error

	mutex   sync.Mutex
	waiting map[*watch]struct{}
}

// watch is the view of one Node's VolumeAttachments.
type watch struct {
	of   *following
	node string
	stop func()
	// changed receives one value for any number of changes.
	changed chan struct{}
}

const byNode = "node"

// of returns the VolumeAttachments of a Node once all are listed. If the list is forbidden, it
// returns the API server's error.
func (a *attachments) of(ctx context.Context, node string) (*watch, error) {
	f := a.join()
	w := &watch{of: f, node: node, changed: make(chan struct{}, 1)}
	w.stop = sync.OnceFunc(func() { a.leave(w) })
	f.mutex.Lock()
	f.waiting[w] = struct{}{}
	f.mutex.Unlock()
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	synced := make(chan struct{})
	go func() {
		if cache.WaitForCacheSync(waiting.Done(), f.informer.HasSynced) {
			close(synced)
		}
	}()
	var err error
	select {
	case <-synced:
		return w, nil
	case err = <-f.refused:
		f.refuse(err) // Others wait for the same answer.
		if f.informer.HasSynced() {
			return w, nil // It is about something that came later, and clears by itself.
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	w.stop()
	return nil, err
}

func (a *attachments) join() *following {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.open == nil {
		a.open = follow(a.client)
	}
	a.open.users++
	return a.open
}

// leave ends the watch when no step uses it.
func (a *attachments) leave(w *watch) {
	w.of.mutex.Lock()
	delete(w.of.waiting, w)
	w.of.mutex.Unlock()
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if w.of.users--; w.of.users > 0 {
		return
	}
	w.of.cancel()
	if a.open == w.of {
		a.open = nil
	}
}

func follow(client kubernetes.Interface) *following {
	// The watch does not use the context of the first step, because other steps share it.
	ctx, cancel := context.WithCancel(context.Background())
	f := &following{cancel: cancel, refused: make(chan error, 1), waiting: map[*watch]struct{}{}}
	f.informer = informers.NewSharedInformerFactory(client, 0).Storage().V1().VolumeAttachments().Informer()
	must(f.informer.SetTransform(trim))
	must(f.informer.AddIndexers(cache.Indexers{byNode: func(object any) ([]string, error) {
		return []string{object.(*storagev1.VolumeAttachment).Spec.NodeName}, nil
	}}))
	must(f.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { f.refuse(err) }))
	_, err := f.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    f.note,
		UpdateFunc: func(_, object any) { f.note(object) },
		DeleteFunc: func(object any) {
			if last, missed := object.(cache.DeletedFinalStateUnknown); missed {
				object = last.Obj
			}
			f.note(object)
		},
	})
	must(err)
	go f.informer.RunWithContext(ctx)
	return f
}

// must: setting up an informer fails only after it was started.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (f *following) refuse(err error) {
	select {
	case f.refused <- err:
	default: // It is known that something is wrong.
	}
}

func (f *following) note(object any) {
	attachment, is := object.(*storagev1.VolumeAttachment)
	if !is {
		return
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for w := range f.waiting {
		if w.node != attachment.Spec.NodeName {
			continue
		}
		select {
		case w.changed <- struct{}{}:
		default: // One look is scheduled already.
		}
	}
}

// list returns the Node's current VolumeAttachments, by name.
func (w *watch) list() []*storagev1.VolumeAttachment {
	objects, err := w.of.informer.GetIndexer().ByIndex(byNode, w.node)
	must(err) // There is such an index.
	var found []*storagev1.VolumeAttachment
	for _, object := range objects {
		found = append(found, object.(*storagev1.VolumeAttachment))
	}
	slices.SortFunc(found, func(a, b *storagev1.VolumeAttachment) int { return cmp.Compare(a.Name, b.Name) })
	return found
}

// trim keeps only the fields of a VolumeAttachment that the plugin uses.
func trim(object any) (any, error) {
	attachment, is := object.(*storagev1.VolumeAttachment)
	if !is {
		return object, nil
	}
	trimmed := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{
			Name: attachment.Name, UID: attachment.UID, ResourceVersion: attachment.ResourceVersion,
			CreationTimestamp: attachment.CreationTimestamp, DeletionTimestamp: attachment.DeletionTimestamp, Finalizers: attachment.Finalizers,
		},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: attachment.Spec.Attacher, NodeName: attachment.Spec.NodeName,
			Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: attachment.Spec.Source.PersistentVolumeName},
		},
	}
	trimmed.Status.DetachError = attachment.Status.DetachError
	return trimmed, nil
}
