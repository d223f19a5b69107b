package runrecord

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// batch are the runs that one write of the journal stores for the first time.
type batch struct {
	done chan struct{}
	err  error
}

// ErrTakenOver ends a term as the leader, who asks for the Lease anew.
var ErrTakenOver = errors.New("another agent has taken over the journal of cleanups, or somebody has put an older one in its place")

var (
	errTerminating = errors.New("somebody has deleted the journal of cleanups, and it is held by the finalizers of others")
	errContested   = errors.New("others write the journal of cleanups each time before this agent can")
)

// unusable reports whether the journal cannot be written now, and that is all.
func unusable(err error) bool {
	return api.Refused(err) || errors.Is(err, errTerminating) || errors.Is(err, errContested)
}

// add notes how a run begins.
func (j *Journal) add(name, says string) {
	j.drop(name)
	j.begun[name] = says
	j.size += len(name) + len(says)
}

// drop takes a run out of what is to be stored.
func (j *Journal) drop(name string) {
	if says, found := j.begun[name]; found {
		j.size -= len(name) + len(says)
		delete(j.begun, name)
	}
}

// forget takes a run out that has a record of its own, or did not begin. What is stored
// loses it with the next write.
func (j *Journal) forget(name string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.drop(name)
	j.tidyLater(quiet)
}

// tidyLater has the journal written once more for no other end than that it is empty.
func (j *Journal) tidyLater(after time.Duration) {
	if len(j.begun) > 0 || j.tidying || !j.taken {
		return
	}
	j.tidying = true
	j.clock.AfterFunc(after, func() {
		j.mutex.Lock()
		defer j.mutex.Unlock()
		j.tidying = false
		if len(j.begun) > 0 || j.writing || !j.full || j.ctx.Err() != nil {
			return
		}
		if wait := j.avoided.Sub(j.clock.Now()); wait > 0 {
			j.tidyLater(wait)
			return
		}
		j.schedule()
	})
}

// schedule returns the batch that the next write stores, and sees to it that there is one.
func (j *Journal) schedule() *batch {
	if j.next == nil {
		j.next = &batch{done: make(chan struct{})}
	}
	if !j.writing {
		j.writing = true
		j.work.Go(j.writeAll)
	}
	return j.next
}

// writeAll writes one batch after the other, until there is none.
func (j *Journal) writeAll() {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	tidy := quiet
	for j.next != nil {
		now, begun := j.next, maps.Clone(j.begun)
		j.next = nil
		if now.err = j.over; now.err != nil {
			close(now.done)
			continue
		}
		j.mutex.Unlock()
		now.err = j.writeSurely(begun)
		tidy = quiet
		switch {
		case now.err == nil:
		case errors.Is(now.err, ErrTakenOver):
			j.lost(now.err)
		case unusable(now.err):
			j.avoid(now.err)
			fallthrough
		default:
			tidy = tryAgain
		}
		close(now.done)
		j.gather()
		j.mutex.Lock()
		if errors.Is(now.err, ErrTakenOver) {
			j.over = now.err
		}
	}
	j.writing = false
	j.tidyLater(tidy)
}

// between is how long the journal waits after a write: then the next one takes more runs along.
const between = 20 * time.Millisecond

func (j *Journal) gather() {
	timer := j.clock.NewTimer(between)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-j.ctx.Done():
	}
}

// writeSurely writes the journal also where others have labelled or deleted it meanwhile, or
// where a write of ours got there of which no answer came. Where another leader has taken
// it over, that is an error.
func (j *Journal) writeSurely(begun map[string]string) error {
	ctx, cancel := context.WithTimeout(j.ctx, patience)
	defer cancel()
	if j.stored.DeletionTimestamp != nil { // Another may have taken its place.
		if err := j.catchUp(ctx); err != nil {
			return err
		}
	}
	var err error
	for range foreignWrites {
		if err = j.write(ctx, begun); !overtaken(err) {
			return err
		}
		if readErr := j.catchUp(ctx); readErr != nil {
			return fmt.Errorf("%w, after %v", readErr, err)
		}
	}
	return fmt.Errorf("%w: %v", errContested, err)
}

// catchUp reads the journal anew. Where it cannot be read, nobody knows whether it is still this
// leader's: that is an error, and no refusal to write it.
func (j *Journal) catchUp(ctx context.Context) error {
	if _, err := j.readAnew(ctx); err != nil {
		return errors.New(err.Error())
	}
	// Who takes it over writes it, and says so in it.
	if holder := j.stored.Annotations[api.AnnotationJournalHolder]; holder != "" && holder != j.holder {
		return fmt.Errorf("%w: the mark in it is %q", ErrTakenOver, holder)
	}
	return nil
}

// overtaken reports whether the journal is not as it was known.
func overtaken(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// readAnew reads the journal, which is empty where there is none. It returns nil with an error.
func (j *Journal) readAnew(ctx context.Context) (map[string]string, error) {
	found, err := j.store.configMaps.Get(ctx, api.JournalName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		found = &corev1.ConfigMap{}
	case err != nil:
		return nil, fmt.Errorf("reading the journal of cleanups, configmap %s/%s: %w", j.store.namespace, api.JournalName, err)
	}
	j.stored = found.ObjectMeta
	if found.Data == nil {
		return map[string]string{}, nil
	}
	return found.Data, nil
}

// write writes the journal, where it is as it was read or written last. What others have put
// on it stays.
func (j *Journal) write(ctx context.Context, begun map[string]string) error {
	if j.stored.DeletionTimestamp != nil {
		return errTerminating
	}
	configMap := &corev1.ConfigMap{ObjectMeta: j.stored, Data: begun}
	configMap.Namespace, configMap.Name = j.store.namespace, api.JournalName
	configMap.Labels = with(j.stored.Labels, map[string]string{api.LabelName: api.LabelNameValue})
	configMap.Annotations = with(j.stored.Annotations, map[string]string{api.AnnotationJournalHolder: j.holder})
	// The API server need not find out each time that the same agent manages each entry.
	configMap.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	j.full = j.full || len(begun) > 0 // The write may get there and its answer not.
	var err error
	if configMap.ResourceVersion == "" {
		configMap, err = j.store.configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	} else {
		configMap, err = j.store.configMaps.Update(ctx, configMap, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing the journal of cleanups, configmap %s/%s: %w", j.store.namespace, api.JournalName, err)
	}
	j.stored, j.full = configMap.ObjectMeta, len(begun) > 0
	return nil
}
