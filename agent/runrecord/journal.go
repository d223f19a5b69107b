package runrecord

import (
	"context"
	"errors"
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

const (
	// journalRoom is how many bytes of records a journal takes. The API server takes 1 MiB
	// of data in a ConfigMap (validation.ValidateConfigMap).
	journalRoom = 512 << 10
	// avoidance is how long runs begin with records of their own, once the API server has
	// refused to have the journal written, or a record of a run that the journal has begun.
	avoidance = time.Minute
	// patience is how long others wait for what one does about the journal.
	patience = 10 * time.Second
)

// Journal keeps how runs have begun that begin together, in one ConfigMap: of a thousand
// Nodes that go at once, each write takes along all runs that came to it while the one
// before was under way. A run that is in it may begin, since the next leader finds it
// there. It gets a record of its own when there is more to say of it, or after a second.
//
// A journal belongs to one leader. The next one writes it before it begins anything, and
// from then on no write of the one before succeeds, unless somebody deletes the journal or its
// mark in between; then the Lease alone keeps that one out. Where the journal cannot be
// written, runs begin with records of their own.
type Journal struct {
	store *Store
	// ctx is that of the leader's term, and lost is told that another has begun.
	ctx    context.Context
	lost   func(error)
	clock  clock.WithDelayedExecution
	log    *slog.Logger
	holder string

	// taking has room for the one who takes the journal over from the leader before. Read: it
	// is known what that one has begun.
	taking chan struct{}
	read   bool

	mutex sync.Mutex
	taken bool
	// begun are the runs that have no record of their own: how it would say it, by its name.
	begun map[string]string
	size  int
	// unkept are those of which one could not be written, or was not tried yet.
	unkept   map[string]*Handle
	sweeping bool
	// avoided is until when runs begin with records of their own.
	avoided time.Time
	// next is what no write has taken along yet.
	next             *batch
	writing, tidying bool
	// over is why nothing is written any more.
	over error
	// stored is the ConfigMap as it was read or written last; full says that something may be
	// in it. Both are of the one that takes the journal over, then of the one that writes it.
	stored metav1.ObjectMeta
	full   bool

	work sync.WaitGroup
}

// Journal returns the journal of a leader whose term ctx is. Lost is called when another leader
// has taken it over.
func (s *Store) Journal(ctx context.Context, clock clock.WithDelayedExecution, log *slog.Logger, lost func(error)) *Journal {
	return &Journal{
		store: s, ctx: ctx, clock: clock, log: log, lost: lost, holder: string(uuid.NewUUID()),
		taking: make(chan struct{}, 1), begun: map[string]string{}, unkept: map[string]*Handle{},
	}
}

// Take takes the journal over from the leader before, and has each run in it get a record of
// its own. Once that is done it does nothing. Where the journal can be read and not be written,
// that is no error: runs begin with records of their own, and it is tried again a minute later.
func (j *Journal) Take(ctx context.Context) error {
	select {
	case j.taking <- struct{}{}:
		defer func() { <-j.taking }()
	case <-ctx.Done():
		return fmt.Errorf("taking over the journal of cleanups: %w", context.Cause(ctx))
	}
	if j.taken || j.read && j.avoids() {
		return nil
	}
	found, err := j.take(ctx)
	switch {
	case err == nil:
		j.adopt(found, true)
	case found == nil && !j.read, ctx.Err() != nil:
		return err
	default:
		j.adopt(found, false)
		j.avoid(err)
	}
	return nil
}

// take returns what the journal says, which is not nil, where it could be read and the API
// server has answered to its being written. An error says that it is not this leader's.
func (j *Journal) take(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var found map[string]string
	var err error
	for range foreignWrites {
		if found, err = j.readAnew(ctx); err != nil {
			return nil, err
		}
		if err = j.write(ctx, found); !overtaken(err) {
			break
		}
	}
	var answer apierrors.APIStatus
	if err != nil && !errors.As(err, &answer) && !errors.Is(err, errTerminating) {
		return nil, err
	}
	return found, err
}

// adopt has the runs that were found get records of their own.
func (j *Journal) adopt(found map[string]string, taken bool) {
	j.read = true
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.taken = taken
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
		own.Data[api.RunKey] = says // As this handle knows it, whoever has encoded it.
		j.add(name, says)
		handle := j.begunAs(says)
		handle.latest = own
		j.unkept[name] = handle
	}
	j.sweepAfter(0)
	j.tidyLater(quiet)
}

// Holds reports whether the run whose record would have the name has none of its own.
func (j *Journal) Holds(name string) bool {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	_, begun := j.begun[name]
	return begun
}

// None returns the handle of a record that is known not to exist, see Store.None. With
// crowded, how the run begins is written to the journal, which does not notice a record.
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
	if err != nil || run != nil {
		return run, handle, err
	}
	if begun {
		run, err = decode(name, says)
		if err != nil || run.NodeUID == uid {
			return run, j.begunAs(says), err
		}
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
// for there is no room for it, or the journal cannot be written.
func (j *Journal) begin(ctx context.Context, own *corev1.ConfigMap) (bool, error) {
	if err := j.Take(ctx); err != nil {
		return false, err
	}
	name, says := own.Name, own.Data[api.RunKey]
	j.mutex.Lock()
	if !j.taken || j.clock.Now().Before(j.avoided) || j.size+len(name)+len(says) > journalRoom {
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
	if unusable(mine.err) {
		return false, nil
	}
	return false, mine.err
}

// avoid has runs begin with records of their own for a while. Where none of those can be
// written either, none begins.
func (j *Journal) avoid(why error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	now := j.clock.Now()
	if !now.Before(j.avoided) {
		j.log.Warn("each cleanup begins with a record of its own for now, not in the journal of cleanups", "for", avoidance, "err", why)
	}
	j.avoided = now.Add(avoidance)
}

func (j *Journal) avoids() bool {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.clock.Now().Before(j.avoided)
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
