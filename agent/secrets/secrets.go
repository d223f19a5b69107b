// Package secrets reads the Secrets that steps use, and watches when they change. The agent
// keeps no value of any of them: a step reads its own when it needs it.
package secrets

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// Informer returns an informer of the Secrets of a namespace that stores which there are and
// when they were written, and nothing of what is in them. Metadata alone would store too
// much: kubectl apply writes all values into an annotation.
func Informer(client metadata.Interface, namespace string) (cache.SharedIndexInformer, error) {
	informer := metadatainformer.NewFilteredMetadataInformer(client, corev1.SchemeGroupVersion.WithResource("secrets"),
		namespace, 0, cache.Indexers{}, nil).Informer()
	if err := informer.SetTransform(strip); err != nil {
		return nil, fmt.Errorf("watching the secrets of namespace %s: %w", namespace, err)
	}
	return informer, nil
}

// strip keeps the identity of a Secret and the times at which it was written.
func strip(object any) (any, error) {
	secret, is := object.(*metav1.PartialObjectMetadata)
	if !is {
		return object, nil // A tombstone holds what was stripped before.
	}
	kept := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: secret.Namespace, Name: secret.Name, UID: secret.UID, ResourceVersion: secret.ResourceVersion, CreationTimestamp: secret.CreationTimestamp,
	}}
	for _, entry := range secret.ManagedFields {
		kept.ManagedFields = append(kept.ManagedFields, metav1.ManagedFieldsEntry{Time: entry.Time})
	}
	return kept, nil
}

// Follow runs an informer of Secrets until ctx ends. It calls known with each Secret that is
// there at the beginning and when it was written last, and changed with each that is created,
// changed or deleted from then on.
func Follow(ctx context.Context, informer cache.SharedIndexInformer, known func(name string, written time.Time), changed func(name string)) error {
	note := func(object any) {
		if last, missed := object.(cache.DeletedFinalStateUnknown); missed {
			object = last.Obj
		}
		if secret, is := object.(*metav1.PartialObjectMetadata); is {
			changed(secret.Name)
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, there bool) {
			if secret, is := object.(*metav1.PartialObjectMetadata); is && there {
				known(secret.Name, written(secret))
				return
			}
			note(object)
		},
		UpdateFunc: func(before, object any) {
			if before.(*metav1.PartialObjectMetadata).ResourceVersion != object.(*metav1.PartialObjectMetadata).ResourceVersion {
				note(object)
			}
		},
		DeleteFunc: note,
	}); err != nil {
		return fmt.Errorf("watching secrets: %w", err)
	}
	informer.RunWithContext(ctx)
	return nil
}

// written returns when an object was written last, as far as it tells, in whole seconds.
func written(object metav1.Object) time.Time {
	last := object.GetCreationTimestamp().Time
	for _, entry := range object.GetManagedFields() {
		if entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}

// Reader implements cleanup.Secrets: it reads a value from the cluster when it is needed.
type Reader struct {
	// Secrets are those of the agent's namespace.
	Secrets corev1client.SecretInterface
}

// Secret implements cleanup.Secrets.
func (r Reader) Secret(ctx context.Context, key cleanup.SecretKey) (string, error) {
	secret, err := r.Secrets.Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading key %s of secret %s: %w", key.Key, key.Name, err)
	}
	value, found := secret.Data[key.Key]
	if !found {
		return "", fmt.Errorf("reading key %s of secret %s: the secret has no such key", key.Key, key.Name)
	}
	return string(value), nil
}
