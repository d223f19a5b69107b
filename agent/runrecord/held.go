package runrecord

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

// quiet is how long a run keeps its news to itself. Most cleanups of a thousand
// nodes at once are over by then, and one Event tells what was done (Drop); whoever
// watches a longer one does not notice.
const quiet = time.Second

// held is what a run has not told yet.
type held struct {
	timer  clock.Timer
	events []event
	// conditions are nil where nothing is said by them.
	conditions []corev1.NodeCondition
}

// HoldBack keeps it back for a second that a cleanup is running, and how its
// steps go. What is worth a warning ends it. Failed is told of a condition that
// could not be written then.
func (r *NodeReporter) HoldBack(ctx context.Context, failed func(error)) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.held = &held{timer: r.clock.AfterFunc(quiet, func() {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		if err := r.speak(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	})}
}

// Speak tells what was held back, and holds nothing back from then on.
func (r *NodeReporter) Speak(ctx context.Context) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.speak(ctx)
}

// Drop forgets what was held back: the end of the run tells it all.
func (r *NodeReporter) Drop() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.drop()
}

// TellEvents tells the Events that were held back, and forgets the conditions: the
// Node is gone before anybody could read them.
func (r *NodeReporter) TellEvents() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.tellHeld()
	r.drop()
}

func (r *NodeReporter) drop() {
	if r.held != nil {
		r.held.timer.Stop()
		r.held = nil
	}
}

func (r *NodeReporter) speak(ctx context.Context) error {
	if r.held == nil {
		return nil
	}
	r.tellHeld()
	was := r.held
	r.held = nil
	was.timer.Stop()
	return r.write(ctx, was.conditions)
}

// tellHeld tells the Events that were held back.
func (r *NodeReporter) tellHeld() {
	if r.held == nil {
		return
	}
	for _, e := range r.held.events {
		r.tell(e)
	}
	r.held.events = nil
}

// emitQuietly tells an Event about what goes well, or holds it back.
func (r *NodeReporter) emitQuietly(e event) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.held != nil {
		r.held.events = append(r.held.events, e)
		return
	}
	r.tell(e)
}
