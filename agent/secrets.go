package agent

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

// followSecrets calls changed with the name of each Secret of the namespace that
// is made, changed or deleted from now on, until ctx ends, and before that known with
// those that are there, and when they were written last. No value of any Secret
// is kept, or even read: a step reads its own when it needs it.
func followSecrets(ctx context.Context, client metadata.Interface, namespace string, known func(name string, written time.Time), changed func(name string)) error {
	informer := metadatainformer.NewFilteredMetadataInformer(client, corev1.SchemeGroupVersion.WithResource("secrets"),
		namespace, 0, cache.Indexers{}, nil).Informer()
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
		return fmt.Errorf("watching the secrets of namespace %s: %w", namespace, err)
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

// clusterSecrets reads secret values from the agent's namespace when they are needed.
type clusterSecrets struct {
	secrets corev1client.SecretInterface
}

// Secret implements cleanup.Secrets.
func (s clusterSecrets) Secret(ctx context.Context, key cleanup.SecretKey) (string, error) {
	secret, err := s.secrets.Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading key %s of secret %s: %w", key.Key, key.Name, err)
	}
	value, found := secret.Data[key.Key]
	if !found {
		return "", fmt.Errorf("reading key %s of secret %s: the secret has no such key", key.Key, key.Name)
	}
	return string(value), nil
}
