package notify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// maxStored is the maximum size of all books together, in bytes: a ConfigMap holds 1 MiB, and the API server
// counts binary data without its base64 encoding.
const maxStored = 900 << 10

// store keeps the books of all notifications in one ConfigMap, with a key for each. Only the leader writes
// it. One write for a group replaces one for each of its run records.
type store struct {
	configMaps corev1client.ConfigMapInterface
	namespace  string

	mutex sync.Mutex
	// current is what was read or written last.
	current *corev1.ConfigMap
}

// load reads the ConfigMap. A missing one is empty.
func (s *store) load(ctx context.Context) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.read(ctx)
}

func (s *store) read(ctx context.Context) error {
	current, err := s.configMaps.Get(ctx, api.NotificationsName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		current = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: api.NotificationsName, Labels: map[string]string{api.LabelName: api.LabelNameValue},
		}}
	case err != nil:
		return fmt.Errorf("reading configmap %s/%s: %w", s.namespace, api.NotificationsName, err)
	}
	s.current = current
	return nil
}

// get returns the stored book of a notification, nil if there is none.
func (s *store) get(name string) []byte {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.current.BinaryData[name]
}

// put stores the book of a notification, and removes those of notifications that are not in names.
func (s *store) put(ctx context.Context, names []string, name string, data []byte) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for attempt := 1; ; attempt++ {
		err := s.write(ctx, names, name, data)
		if err == nil {
			return nil
		}
		if attempt == 3 || !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("writing configmap %s/%s: %w", s.namespace, api.NotificationsName, err)
		}
		if err := s.read(ctx); err != nil { // A user has changed or deleted it.
			return err
		}
	}
}

func (s *store) write(ctx context.Context, names []string, name string, data []byte) error {
	wanted := s.current.DeepCopy()
	if wanted.BinaryData == nil {
		wanted.BinaryData = map[string][]byte{}
	}
	wanted.Data = nil // The agent writes none, and others must not take up the room.
	maps.DeleteFunc(wanted.BinaryData, func(key string, _ []byte) bool { return !slices.Contains(names, key) })
	wanted.BinaryData[name] = data
	var err error
	if wanted.ResourceVersion == "" {
		wanted, err = s.configMaps.Create(ctx, wanted, metav1.CreateOptions{})
	} else {
		wanted, err = s.configMaps.Update(ctx, wanted, metav1.UpdateOptions{})
	}
	if err == nil {
		s.current = wanted
	}
	return err
}
