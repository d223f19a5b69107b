// Package runrecord keeps what is known about cleanups where people and a next
// leader find it: run records, the Node condition, Events.
package runrecord

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Store reads and writes run records, one ConfigMap each.
type Store struct {
	configMaps corev1client.ConfigMapInterface
	namespace  string
}

// NewStore returns a store in a namespace.
func NewStore(configMaps corev1client.ConfigMapsGetter, namespace string) *Store {
	return &Store{configMaps: configMaps.ConfigMaps(namespace), namespace: namespace}
}

// Handle is one stored record: it knows which version of it was read, so that
// an agent that was overtaken by another fails to write instead of undoing what
// the other recorded.
type Handle struct {
	store           *Store
	resourceVersion string
}

// None returns the handle of a record that is known not to exist. Saving by it
// fails with "already exists" when it does.
func (s *Store) None() *Handle { return &Handle{store: s} }

// Load returns the record of a Node, or nil where there is none, and the handle
// to save it by. A record that cannot be decoded, or that is about another
// Node, is an error.
func (s *Store) Load(ctx context.Context, node string, uid types.UID) (*api.Run, *Handle, error) {
	name := api.RunName(node, uid)
	configMap, err := s.configMaps.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, s.None(), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading run record %s/%s: %w", s.namespace, name, err)
	}
	run, err := api.DecodeRun(configMap)
	if err != nil {
		return nil, nil, err
	}
	if run.NodeUID != uid {
		return nil, nil, fmt.Errorf("reading run record %s/%s: it is about node UID %s, not %s", s.namespace, name, run.NodeUID, uid)
	}
	return run, &Handle{store: s, resourceVersion: configMap.ResourceVersion}, nil
}

// Save stores the record. It fails with a conflict or "already exists" when
// somebody else stored one since this handle last read or wrote it.
func (h *Handle) Save(ctx context.Context, run *api.Run) error {
	configMap, err := api.EncodeRun(h.store.namespace, run)
	if err != nil {
		return err
	}
	var stored *corev1.ConfigMap
	if h.resourceVersion == "" {
		stored, err = h.store.configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	} else {
		configMap.ResourceVersion = h.resourceVersion
		stored, err = h.store.configMaps.Update(ctx, configMap, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing run record %s/%s: %w", configMap.Namespace, configMap.Name, err)
	}
	h.resourceVersion = stored.ResourceVersion
	return nil
}
