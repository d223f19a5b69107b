// Package runrecord keeps what is known about cleanups where people and a next
// leader find it: run records, the Node condition, Events.
package runrecord

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

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

// Handle is one stored record: it knows what was read or written of it last, so that
// an agent that was overtaken by another fails to write instead of undoing what
// the other recorded.
type Handle struct {
	store           *Store
	resourceVersion string
	// labels and annotations that others have put on it stay.
	labels, annotations map[string]string
	// said is what the record said when it was read or written last; tried what writes
	// since wanted it to say of which no answer came.
	said  string
	tried []string
	// journal is where the run begins, nil where it begins with a record of its own. Begun: it
	// is there, and there alone.
	journal *Journal
	begun   bool
	// latest is what a record of its own is to say meanwhile, and kept the timer after which the
	// run gets one, nil where there is none.
	latest *corev1.ConfigMap
	kept   clock.Timer
	mutex  sync.Mutex
}

// UnreadableError: there is a record that says nothing that this agent understands.
type UnreadableError struct {
	error
	// Handle saves another record in its place.
	Handle *Handle
}

// Unwrap returns the cause.
func (e *UnreadableError) Unwrap() error { return e.error }

// None returns the handle of a record that is known not to exist. Saving by it fails with
// "already exists" when it does; by that of a journal, only the save after the first does.
func (s *Store) None() *Handle { return &Handle{store: s} }

// Load returns the record of a Node, or nil where there is none, and the handle
// to save it by. A record that cannot be decoded, or that is about another
// Node, is an UnreadableError.
func (s *Store) Load(ctx context.Context, node string, uid types.UID) (*api.Run, *Handle, error) {
	name := api.RunName(node, uid)
	configMap, err := s.configMaps.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, s.None(), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading run record %s/%s: %w", s.namespace, name, err)
	}
	handle := s.None()
	handle.is(configMap)
	run, err := api.DecodeRun(configMap)
	if err == nil && run.NodeUID != uid {
		err = fmt.Errorf("reading run record %s/%s: it is about node UID %s, not %s", s.namespace, name, run.NodeUID, uid)
	}
	if err != nil {
		return nil, nil, &UnreadableError{err, handle}
	}
	return run, handle, nil
}

// foreignWrites is how often a record may be written by others, and not what it says,
// while it is saved.
const foreignWrites = 5

// Save stores the record. What others wrote beside what it says, such as labels, stays; a
// record that somebody deleted is made anew. It fails with a conflict or "already exists"
// when somebody else stored one since this handle last read or wrote it.
func (h *Handle) Save(ctx context.Context, run *api.Run) error {
	configMap, err := api.EncodeRun(h.store.namespace, run)
	if err != nil {
		return err
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.latest = configMap
	if h.journal != nil && h.new() && run.State == api.Running {
		if h.begun, err = h.journal.begin(ctx, configMap); err != nil {
			return err
		}
		if h.begun {
			h.kept = h.journal.keepLater(quiet, configMap.Name, h)
			return nil
		}
	}
	return h.saveOwn(ctx)
}

// new reports whether nothing was stored by this handle, nor may have been.
func (h *Handle) new() bool {
	return !h.begun && h.resourceVersion == "" && h.said == "" && len(h.tried) == 0
}

// keep gives a run a record of its own that only the journal holds.
func (h *Handle) keep(ctx context.Context) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if !h.begun {
		return nil
	}
	err := h.saveOwn(ctx)
	if errors.Is(err, errOtherRecord) { // The next save fails, and it is read.
		h.journal.forget(h.latest.Name)
		h.journal, h.begun, err = nil, false, nil
	}
	return err
}

// saveOwn stores a record of the run's own.
func (h *Handle) saveOwn(ctx context.Context) error {
	if err := h.put(ctx, h.latest); err != nil {
		if h.journal != nil && api.Refused(err) {
			h.journal.avoid(err) // What began there would not be recorded when it is done.
		}
		return err
	}
	if h.begun {
		h.begun = false
		h.journal.forget(h.latest.Name)
	}
	if h.kept != nil {
		h.kept.Stop()
	}
	h.latest = nil
	return nil
}

// put stores what a record says.
func (h *Handle) put(ctx context.Context, configMap *corev1.ConfigMap) error {
	says := configMap.Data[api.RunKey]
	var err error
	for range foreignWrites {
		var stored *corev1.ConfigMap
		if stored, err = h.write(ctx, configMap); err == nil {
			h.is(stored)
			return nil
		}
		again := false
		switch {
		case apierrors.IsNotFound(err) && h.resourceVersion != "":
			// There is another reason where the namespace is gone, and that is found again.
			h.resourceVersion, again = "", true
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
			var there bool
			if there, again, err = h.catchUp(ctx, configMap.Name, says, err); there {
				return nil
			}
		case !api.Refused(err):
			if !slices.Contains(h.tried, says) {
				h.tried = append(h.tried, says) // It may have got there.
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
	configMap.Labels, configMap.Annotations = with(h.labels, configMap.Labels), h.annotations
	return h.store.configMaps.Update(ctx, configMap, metav1.UpdateOptions{})
}

// catchUp looks at a record that was not as this handle knew it. There is true where it says
// already what is to be written, and again where it says what it said, or what this handle
// tried to have it say: then it may be written. Without either, the error is why not; with
// again it is the conflict, which stands where others write it each time.
func (h *Handle) catchUp(ctx context.Context, name, says string, conflict error) (there, again bool, err error) {
	current, err := h.store.configMaps.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		h.resourceVersion = "" // It was deleted, or the conflict is about something else, such as a quota.
		return false, true, conflict
	case err != nil:
		return false, false, fmt.Errorf("%w, after %v", err, conflict) // As the read: it may pass.
	}
	is := current.Data[api.RunKey]
	there, again = is == says, is == h.said || slices.Contains(h.tried, is)
	if there || again {
		h.is(current)
	}
	if !there && !again {
		conflict = fmt.Errorf("%w: %w", errOtherRecord, conflict)
	}
	return there, again, conflict
}

var errOtherRecord = errors.New("somebody else has stored another record")

// is notes how the record is.
func (h *Handle) is(configMap *corev1.ConfigMap) {
	h.resourceVersion, h.labels, h.annotations = configMap.ResourceVersion, configMap.Labels, configMap.Annotations
	h.said, h.tried = configMap.Data[api.RunKey], nil
}

// with returns what is in either, and in ours where it is in both.
func with(others, ours map[string]string) map[string]string {
	all := maps.Clone(others)
	if all == nil {
		return ours
	}
	maps.Copy(all, ours)
	return all
}
