// Package patience has long waits outlive an API server that restarts, or a network that
// is gone for a while.
package patience

import (
	"context"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// between is the time between two tries.
const between = time.Second

// Wait is one wait. The zero value says nothing.
type Wait struct {
	// Say, if there is one, is given a line when the API server stops answering, and one
	// when it answers again.
	Say    func(line string)
	silent bool
}

// Try takes what a round of the wait came to. It returns nil when another round may come to
// something else, after a pause: there was no error, or the API server had no answer.
// Otherwise, and when ctx ends, it returns the error.
func (w *Wait) Try(ctx context.Context, err error) error {
	switch {
	case err == nil:
		w.Answered()
	case ctx.Err() != nil || !api.Unanswered(err):
		return err
	case !w.silent:
		w.silent = true
		w.say("the API server has no answer, trying again: " + err.Error())
	}
	timer := time.NewTimer(between)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Answered notes that the API server does answer, which a round that goes well may want to
// say before its end.
func (w *Wait) Answered() {
	if w.silent {
		w.silent = false
		w.say("the API server answers again")
	}
}

func (w *Wait) say(line string) {
	if w.Say != nil {
		w.Say(line)
	}
}
