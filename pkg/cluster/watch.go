package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Watcher lists and watches objects until a condition holds. It continues while the API
// server is unavailable, and when a watch ends or its resource version has expired.
type Watcher struct {
	// Report, if set, is given a line when the API server stops responding, and one when it
	// responds again.
	Report func(line string)
	// Unavailable, if set, is given the error when the API server stops responding, and nil when it responds again.
	Unavailable func(error)
	// Settle is how long changes are gathered before the condition is checked.
	Settle time.Duration
	// Recheck, if set, is how often the condition is checked without a change.
	Recheck time.Duration
}

// Source is an Objects of any kind.
type Source interface {
	run(ctx context.Context, changed func(filled bool), answered func(error))
}

// Until checks the condition as soon as every source is complete, and after each change. It
// returns when the condition is true or returns an error, when the API server refuses a
// request, and when ctx ends. A transient error of the condition is reported and the
// condition checked again.
func (w Watcher) Until(ctx context.Context, condition func(context.Context) (bool, error), sources ...Source) error {
	// Reflectors would log each failure. Report reports an outage once.
	watching, stop := context.WithCancel(klog.NewContext(ctx, klog.Logger{}))
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	connection := newConnection(w)
	refused, changes := make(chan error, 1), make(chan struct{}, 1)
	var lock sync.Mutex
	unfilled := len(sources)
	for i, source := range sources {
		filled := false
		group.Go(func() {
			source.run(watching, func(complete bool) {
				lock.Lock()
				defer lock.Unlock()
				if complete && !filled {
					filled = true
					unfilled--
				}
				if unfilled == 0 {
					signal(changes, struct{}{})
				}
			}, func(err error) {
				if watching.Err() == nil && !connection.answered(i, err) {
					signal(refused, err)
				}
			})
		})
	}
	err := w.loop(ctx, changes, refused, condition, connection)
	if ctx.Err() != nil {
		return connection.during(ctx.Err())
	}
	return err
}

// retryAfter is how long after a failure the API server is asked again.
const retryAfter = time.Second

// loop checks the condition until it holds or something fails.
func (w Watcher) loop(ctx context.Context, changes <-chan struct{}, refused <-chan error, condition func(context.Context) (bool, error), connection *connection) error {
	due := time.NewTimer(0)
	due.Stop()
	defer due.Stop()
	pending, failed := false, false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-refused:
			return err
		case <-changes:
			// A further change does not put the check off: something may change all the time.
			if !pending {
				pending = true
				due.Reset(w.Settle)
			}
			continue
		case <-due.C:
			pending = false
		}
		done, err := condition(ctx)
		switch {
		case err != nil && ctx.Err() == nil && connection.answered(reading, err):
			pending, failed = true, true
			due.Reset(retryAfter)
			continue
		case done || err != nil:
			return err
		case failed:
			failed = false
			connection.answered(reading, nil)
		}
		if w.Recheck > 0 {
			due.Reset(w.Recheck)
		}
	}
}

// Retry calls try until the API server responds, and returns its error.
func (w Watcher) Retry(ctx context.Context, try func(context.Context) error) error {
	connection := newConnection(w)
	var last error
	err := wait.PollUntilContextCancel(ctx, retryAfter, true, func(ctx context.Context) (bool, error) {
		last = try(ctx)
		if api.Retriable(last) && ctx.Err() == nil {
			connection.answered(reading, last)
			return false, nil
		}
		connection.answered(reading, nil)
		return true, nil
	})
	if err != nil {
		return connection.during(err)
	}
	return last
}

// connection is whether the API server responds.
type connection struct {
	watcher Watcher

	lock sync.Mutex
	// lost are the last errors of the failing requests: a source by its number, or reading.
	lost map[int]error
	last error
}

// reading stands for the requests that no source sends.
const reading = -1

func newConnection(watcher Watcher) *connection {
	return &connection{watcher: watcher, lost: map[int]error{}}
}

// answered records the result of the API server for a source, and reports whether the error is
// retriable.
func (c *connection) answered(whom int, err error) bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	down := len(c.lost) > 0
	switch {
	case err == nil:
		delete(c.lost, whom)
		if down && len(c.lost) == 0 {
			c.say("the API server is available again", nil)
		}
		return true
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		return true
	case !api.Retriable(err):
		return false
	case !down:
		c.say("the API server is unavailable, retrying: "+err.Error(), err)
	}
	c.lost[whom], c.last = err, err
	return true
}

func (c *connection) say(line string, unavailable error) {
	if c.watcher.Report != nil {
		c.watcher.Report(line)
	}
	if c.watcher.Unavailable != nil {
		c.watcher.Unavailable(unavailable)
	}
}

// during adds the last error of the API server to the end of a wait, if the API server was
// unavailable.
func (c *connection) during(end error) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	if len(c.lost) == 0 {
		return end
	}
	return fmt.Errorf("the API server is unavailable: %v: %w", c.last, end)
}

func signal[T any](to chan<- T, value T) {
	select {
	case to <- value:
	default:
	}
}
