package soak_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// attacher plays the attach-detach controller and the CSI attacher: it creates a VolumeAttachment
// for each Pod that has a claim and is bound to a Node, and deletes it some time after the Pod.
type attacher struct {
	*world
	random *rand.Rand

	mutex  sync.Mutex
	paused bool
	// detachAt is when to delete an attachment without a Pod, by its name.
	detachAt map[string]time.Time
	attached map[string]types.UID
}

func newAttacher(w *world, random *rand.Rand) *attacher {
	a := &attacher{world: w, random: random, detachAt: map[string]time.Time{}, attached: map[string]types.UID{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	var working sync.WaitGroup
	working.Go(func() {
		ticker := time.NewTicker(300 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				a.work(ctx)
			}
		}
	})
	w.Cleanup(func() { cancel(); working.Wait() })
	return a
}

func (a *attacher) pause(paused bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.paused = paused
}

// work creates and deletes the attachments that are scheduled for now. It retries failed requests
// the next time.
func (a *attacher) work(ctx context.Context) {
	a.mutex.Lock()
	paused := a.paused
	a.mutex.Unlock()
	if paused {
		return
	}
	wanted := map[string]*corev1.Pod{}
	a.checking.Lock()
	for _, pod := range a.checker.Pods() {
		if pod.Spec.NodeName != "" && claimOf(pod) != "" {
			wanted["csi-"+string(pod.UID)] = pod
		}
	}
	a.checking.Unlock()
	attachments := a.admin.StorageV1().VolumeAttachments()
	for name, pod := range wanted {
		if _, known := a.attached[name]; known {
			continue
		}
		created, err := attachments.Create(ctx, &storagev1.VolumeAttachment{
			ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{"external-attacher/soak-example-com"}},
			Spec: storagev1.VolumeAttachmentSpec{
				Attacher: "soak.example.com", NodeName: pod.Spec.NodeName,
				Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To(claimOf(pod))},
			},
		}, metav1.CreateOptions{})
		if err == nil {
			a.attached[name] = created.UID
		} else if apierrors.IsAlreadyExists(err) { // An answer that was lost.
			a.attached[name] = ""
		}
	}
	for name := range a.attached {
		if wanted[name] != nil {
			continue
		}
		at, due := a.detachAt[name]
		switch {
		case !due:
			a.detachAt[name] = time.Now().Add(time.Duration(a.random.IntN(3000)) * time.Millisecond)
		case time.Now().After(at) && a.detach(ctx, name):
			delete(a.detachAt, name)
			delete(a.attached, name)
		}
	}
}

// detach deletes an attachment, and then removes its finalizer.
func (a *attacher) detach(ctx context.Context, name string) bool {
	attachments := a.admin.StorageV1().VolumeAttachments()
	if err := attachments.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return false
	}
	_, err := attachments.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	return err == nil || apierrors.IsNotFound(err)
}

// claimOf returns the name of the Pod's claim, and of its volume, which has the same name.
func claimOf(pod *corev1.Pod) string {
	for _, volume := range pod.Spec.Volumes {
		if volume.PersistentVolumeClaim != nil {
			return volume.PersistentVolumeClaim.ClaimName
		}
	}
	return ""
}
