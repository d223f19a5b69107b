// Package runstore stores run records: one ConfigMap per cleanup of one Node UID.
package runstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Store reads and writes the run records in one namespace.
type Store struct {
	configMaps corev1client.ConfigMapInterface
	namespace  string
	saved      func(run *api.Run)
}

// New returns a store in a namespace. It calls saved with each record that is stored; saved must not keep the
// record, and must return at once.
func New(configMaps corev1client.ConfigMapsGetter, namespace string, saved func(run *api.Run)) *Store {
	return &Store{configMaps: configMaps.ConfigMaps(namespace), namespace: namespace, saved: saved}
}

// Handle writes one record. It knows what it read or wrote last: an agent that lost the
// leadership cannot overwrite what the next leader has stored. A Handle has one user at a time.
type Handle struct {
	store           *Store
	resourceVersion string
	// labels and annotations of others are preserved.
	labels, annotations map[string]string
	// stored is the JSON that was read or written last.
	stored string
	// unconfirmed holds the JSON of writes since then that returned no answer.
	unconfirmed []string
}

// UndecodableError reports a run record that cannot be decoded or that belongs to another Node UID.
type UndecodableError struct {
	error
	// WrittenAt is when the record's data was written last, by the API server's clock, in whole
	// seconds. It is zero if the ConfigMap does not say.
	WrittenAt time.Time
}

// Unwrap returns the cause.
func (e UndecodableError) Unwrap() error { return e.error }

// NewHandle returns a handle for a record that has not been read. Save fails with AlreadyExists if the
// record exists.
func (s *Store) NewHandle() *Handle { return &Handle{store: s} }

// Load returns the record of a Node, or nil if there is none, and the handle to save it
// with. A record that cannot be decoded, or that names another UID, is an UndecodableError:
// then the handle overwrites it.
func (s *Store) Load(ctx context.Context, node string, uid types.UID) (*api.Run, *Handle, error) {
	name := api.RunName(node, uid)
	configMap, err := s.configMaps.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, s.NewHandle(), nil
	}
	if err != nil {
		return nil, s.NewHandle(), fmt.Errorf("reading run record %s/%s: %w", s.namespace, name, err)
	}
	handle := s.NewHandle()
	handle.remember(configMap)
	run, err := api.DecodeRun(configMap)
	if err == nil && run.NodeUID != uid {
		err = fmt.Errorf("reading run record %s/%s: it is about node UID %s, not %s", s.namespace, name, run.NodeUID, uid)
	}
	if err != nil {
		return nil, handle, UndecodableError{err, api.DataWrittenAt(configMap)}
	}
	return run, handle, nil
}

// maxAttempts limits how often one Save tries to write the record.
const maxAttempts = 5

// Save stores the record. It preserves labels and annotations of others, creates the
// ConfigMap again if it was deleted, and writes nothing if the record is stored
// already. If another client changed the record itself since the handle read or wrote it,
// Save fails with Conflict or AlreadyExists.
func (h *Handle) Save(ctx context.Context, run *api.Run) error {
	configMap, err := api.EncodeRun(h.store.namespace, run)
	if err != nil {
		return err
	}
	wanted := configMap.Data[api.RunKey]
	if wanted == h.stored && len(h.unconfirmed) == 0 {
		return nil
	}
	for range maxAttempts {
		var stored *corev1.ConfigMap
		if stored, err = h.write(ctx, configMap); err == nil {
			h.remember(stored)
			h.store.saved(run)
			return nil
		}
		again := false
		switch {
		case apierrors.IsNotFound(err) && h.resourceVersion != "":
			// It was deleted. If the namespace is deleted too, the next write says so.
			h.resourceVersion, again = "", true
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
			var written bool
			if written, again, err = h.refresh(ctx, configMap.Name, wanted, err); written {
				h.store.saved(run)
				return nil
			}
		case !api.Refused(err):
			if !slices.Contains(h.unconfirmed, wanted) {
				h.unconfirmed = append(h.unconfirmed, wanted)
			}
		}
		if !again {
			break
		}
	}
	return fmt.Errorf("writing run record %s/%s: %w", configMap.Namespace, configMap.Name, err)
}

func (h *Handle) write(ctx context.Context, configMap *corev1.ConfigMap) (*corev1.ConfigMap, error) {
	if h.resourceVersion == "" {
		configMap.ResourceVersion = ""
		return h.store.configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	}
	configMap.ResourceVersion = h.resourceVersion
	configMap.Labels, configMap.Annotations = labels.Merge(h.labels, configMap.Labels), h.annotations
	return h.store.configMaps.Update(ctx, configMap, metav1.UpdateOptions{})
}

// refresh reads a record again after a write conflict. written: the wanted JSON is already stored. again:
// the caller may retry, because the record does not exist or holds what this handle read or wrote. err is
// always the cause.
func (h *Handle) refresh(ctx context.Context, name, wanted string, conflict error) (written, again bool, err error) {
	current, err := h.store.configMaps.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		h.resourceVersion = "" // It was deleted, or the conflict has another reason, such as a quota.
		return false, true, conflict
	case err != nil:
		return false, false, fmt.Errorf("%w, after %v", err, conflict)
	}
	stored := current.Data[api.RunKey]
	known := h.stored != "" || h.resourceVersion != "" // Else this handle has neither read nor written the record.
	written, again = stored == wanted, known && stored == h.stored || slices.Contains(h.unconfirmed, stored)
	if written || again {
		h.remember(current)
		return written, again, conflict
	}
	return false, false, fmt.Errorf("%w: %w", errForeignRecord, conflict)
}

var errForeignRecord = errors.New("another client has stored another record")

// remember notes what the API server has stored.
func (h *Handle) remember(configMap *corev1.ConfigMap) {
	h.resourceVersion, h.labels, h.annotations = configMap.ResourceVersion, configMap.Labels, configMap.Annotations
	h.stored, h.unconfirmed = configMap.Data[api.RunKey], nil
}
