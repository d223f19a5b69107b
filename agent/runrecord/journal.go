package runrecord

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// journalRoom is how many bytes of records a journal takes. The API server takes 1 MiB of
// data in a ConfigMap (validation.ValidateConfigMap).
const journalRoom = 512 << 10

// tryAgain is how long it takes until what could not be written is written again.
const tryAgain = 10 * time.Second

// Journal keeps how runs have begun that begin together, in one ConfigMap: of a thousand
// Nodes that go at once, each write takes along all runs that came to it while the one
// before was under way. A run that is in it may begin, since the next leader finds it
// there. It gets a record of its own when there is more to say of it, or after a second.
//
// A journal belongs to one leader. The next one writes it before it begins anything, and
// from then on no write of the one before succeeds.
type Journal struct {
	store *Store
	// ctx is that of the leader's term.
	ctx    context.Context
	clock  clock.WithDelayedExecution
	log    *slog.Logger
	holder string

	// taking is held while the journal is taken over from the leader before. Refused: this
	// term does without.
	taking         sync.Mutex
	taken, refused bool

	mutex sync.Mutex
	// begun are the runs that have no record of their own: how it would say it, by its name.
	begun map[string]string
	size  int
	// next is what no write has taken along yet.
	next             *batch
	writing, tidying bool
	// stored is the ConfigMap as it was read or written last, and full says whether anything is
	// in it. Both are of the one that takes the journal over, then of the one that writes it.
	stored metav1.ObjectMeta
	full   bool

	work sync.WaitGroup
}

// Journal returns the journal of a leader whose term ctx is. Until Take succeeds no run can begin.
func (s *Store) Journal(ctx context.Context, clock clock.WithDelayedExecution, log *slog.Logger) *Journal {
	return &Journal{store: s, ctx: ctx, clock: clock, log: log, holder: string(uuid.NewUUID()), begun: map[string]string{}}
}

// Take takes the journal over from the leader before, and has each run in it get a record of
// its own. Once that is done it does nothing. Where the API server refuses to have the
// journal written, that is no error: what it says is known, and from the start each run of
// this term gets a record of its own.
func (j *Journal) Take(ctx context.Context) error {
	j.taking.Lock()
	defer j.taking.Unlock()
	if j.taken {
		return nil
	}
	var err error
	for range foreignWrites {
		var found map[string]string
		if found, err = j.readAnew(ctx); err != nil {
			return err
		}
		err = j.write(ctx, found)
		switch {
		case err != nil && api.Refused(err) && !apierrors.IsNotFound(err):
			j.log.Warn("the journal of cleanups cannot be written, so each cleanup begins with a record of its own", "err", err)
			j.refused = true
			fallthrough
		case err == nil:
			j.taken = true
			j.adopt(found)
			return nil
		case !overtaken(err):
			return err
		}
	}
	return err
}

// adopt has the runs that were found get records of their own.
func (j *Journal) adopt(found map[string]string) {
	var handles []*Handle
	var runs []*corev1.ConfigMap
	j.mutex.Lock()
	defer j.mutex.Unlock()
	for name, says := range found {
		run, err := decode(name, says)
		var own *corev1.ConfigMap
		if err == nil {
			own, err = api.EncodeRun(j.store.namespace, run)
		}
		if err != nil {
			// Its run begins anew, with the same idempotency keys.
			j.log.Error("an entry of the journal of cleanups cannot be read and is left out", "entry", name, "err", err)
			continue
		}
		j.add(name, says)
		handles, runs = append(handles, j.begunAs(says)), append(runs, own)
	}
	j.tidyLater(quiet)
	j.work.Go(func() {
		for i, handle := range handles {
			j.keep(handle, runs[i])
		}
	})
}

// None returns the handle of a record that is known not to exist, see Store.None. With
// crowded, how the run begins is written to the journal.
func (j *Journal) None(crowded bool) *Handle {
	handle := j.store.None()
	if crowded {
		handle.journal = j
	}
	return handle
}

// begunAs returns the handle of a run that only the journal holds.
func (j *Journal) begunAs(says string) *Handle {
	return &Handle{store: j.store, journal: j, begun: true, said: says}
}

// Load is Store.Load, which also knows what only the journal holds.
func (j *Journal) Load(ctx context.Context, node string, uid types.UID, crowded bool) (*api.Run, *Handle, error) {
	if err := j.Take(ctx); err != nil {
		return nil, nil, err
	}
	name := api.RunName(node, uid)
	// The journal first: a run leaves it once it has a record, and that says more.
	j.mutex.Lock()
	says, begun := j.begun[name]
	j.mutex.Unlock()
	run, handle, err := j.store.Load(ctx, node, uid)
	switch {
	case err != nil || run != nil:
		return run, handle, err
	case begun:
		run, err = decode(name, says)
		return run, j.begunAs(says), err
	}
	return nil, j.None(crowded), nil
}

// decode reads an entry.
func decode(name, says string) (*api.Run, error) {
	run, err := api.DecodeRun(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{api.RunKey: says}})
	if err == nil && api.RunName(run.Node, run.NodeUID) != name {
		err = fmt.Errorf("it is about node %s with UID %s", run.Node, run.NodeUID)
	}
	return run, err
}

// begin stores how a run begins. It reports false where the run needs a record of its own,
// for there is no room for it, or the API server refuses to have the journal written.
func (j *Journal) begin(ctx context.Context, own *corev1.ConfigMap) (bool, error) {
	if err := j.Take(ctx); err != nil || j.refused {
		return false, err
	}
	name, says := own.Name, own.Data[api.RunKey]
	j.mutex.Lock()
	if j.size+len(name)+len(says) > journalRoom {
		j.mutex.Unlock()
		return false, nil
	}
	j.add(name, says)
	mine := j.schedule()
	j.mutex.Unlock()
	select {
	case <-mine.done:
	case <-ctx.Done():
		j.forget(name)
		return false, fmt.Errorf("writing the journal of cleanups: %w", context.Cause(ctx))
	}
	if mine.err == nil {
		return true, nil
	}
	j.forget(name)
	if api.Refused(mine.err) {
		return false, nil
	}
	return false, mine.err
}

// keepLater gives a run a record of its own after a while, where it has none by then. The timer
// may be stopped where that is certain.
func (j *Journal) keepLater(after time.Duration, handle *Handle, own *corev1.ConfigMap) clock.Timer {
	return j.clock.AfterFunc(after, func() {
		if j.works() {
			defer j.work.Done()
			j.keep(handle, own)
		}
	})
}

// keep gives a run a record of its own now, where it has none.
func (j *Journal) keep(handle *Handle, own *corev1.ConfigMap) {
	j.mutex.Lock()
	_, begun := j.begun[own.Name]
	j.mutex.Unlock()
	if !begun {
		return
	}
	if err := handle.keep(j.ctx, own); err != nil && j.ctx.Err() == nil {
		j.log.Warn("a cleanup has no record of its own yet, the journal of cleanups holds how it began", "record", own.Name, "again", tryAgain, "err", err)
		j.keepLater(tryAgain, handle, own)
	}
}

// works reports whether the term goes on, and has Wait wait for what begins.
func (j *Journal) works() bool {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if j.ctx.Err() != nil {
		return false
	}
	j.work.Add(1)
	return true
}

// Wait returns when nothing of the journal is at work any more. The term has ended.
func (j *Journal) Wait() {
	j.mutex.Lock() // What begins by itself has begun, or sees that the term has ended.
	j.mutex.Unlock()
	j.work.Wait()
}
