package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/sleep"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/truncate"
)

const (
	// timeout limits one call of a plugin.
	timeout = 30 * time.Second
	// cutOffAfter is how long a plugin may take to return after it was canceled. After that, it is
	// abandoned.
	cutOffAfter = 5 * time.Second
	// retryHungAfter is the minimum wait after a plugin was abandoned, so that hung calls do not
	// accumulate.
	retryHungAfter = 5 * time.Minute
	// maxHung is how many abandoned calls of one notification may run. A call may never return, even after the
	// service has recovered, so one is not enough.
	maxHung = 3
	// storeAgain is the wait before a failed write of the store is repeated.
	storeAgain = 5 * time.Second
	// maxUnsaved is how long a store that cannot be written delays messages.
	maxUnsaved = time.Minute
	// maxSave limits how long a change of the config waits for a write of the store.
	maxSave = time.Minute
	// lastSave limits the last write of the store when this agent stops leading. A leader that has lost its
	// Lease writes nothing.
	lastSave = 3 * time.Second
)

// sender sends the messages of one notification, one after the other. It has its own goroutine, so that
// a receiver that hangs delays nothing else.
type sender struct {
	*Notifier
	log *slog.Logger
	// names are those of all notifications of the config.
	names []string
	// wake has an element when the book may have changed.
	wake chan struct{}

	// hung counts the abandoned calls that have not returned.
	hung atomic.Int32

	mutex sync.Mutex
	book  *book
	// saveAt is when to repeat a failed write of the store; unsavedSince is when the first one failed. Both are
	// zero after a success.
	saveAt, unsavedSince time.Time
}

// change calls do with the book, and wakes the sender.
func (s *sender) change(do func(*book)) {
	s.mutex.Lock()
	do(s.book)
	s.mutex.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // A wake-up is pending already.
	}
}

// run sends messages until ctx ends.
func (s *sender) run(ctx context.Context) {
	stored := s.store.get(s.book.settings.Name)
	// Without a book, the next leader does not know what is old. One that is larger than its share was stored
	// with fewer notifications, and takes the room of the others.
	unsaved := stored == nil || len(stored) > s.share()
	for ctx.Err() == nil {
		next, wait, begun := s.next()
		if unsaved || begun { // A leader after a crash must send the first message with the same key.
			delay, send := s.untilSave()
			if delay <= 0 {
				unsaved = !s.save(ctx)
				continue
			}
			if next == nil || !send {
				s.pause(ctx, delay)
				continue
			}
		}
		if next == nil {
			s.wait(ctx, wait)
			continue
		}
		unsaved = s.send(ctx, *next) || unsaved
	}
	if unsaved {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSave)
		defer cancel()
		s.save(ctx)
	}
}

// share is the maximum size of the stored book, in bytes.
func (s *sender) share() int { return maxStored / len(s.names) }

// next returns the message to send now, or how long to wait for one. begun: a group has begun that is not
// stored.
func (s *sender) next() (next *message, wait time.Duration, begun bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	g, wait := s.book.due(s.Clock.Now())
	s.reportDropped()
	if g != nil {
		composed := s.book.compose(g)
		next = &composed
	}
	return next, wait, s.book.unsaved()
}

// reportDropped reports the groups that the book has dropped.
func (s *sender) reportDropped() {
	for _, dropped := range s.book.dropped {
		s.log.Error("discarded a group of notifications", "group", dropped)
		s.Metrics.NotificationDropped(s.book.settings.Name, s.book.settings.Plugin)
	}
	s.book.dropped = nil
}

// wait waits until the book may have changed or the time has passed; 0 is without limit.
func (s *sender) wait(ctx context.Context, atMost time.Duration) {
	var passed <-chan time.Time
	if atMost > 0 {
		timer := s.Clock.NewTimer(atMost)
		defer timer.Stop()
		passed = timer.C()
	}
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-passed:
	}
}

// pause waits also while events arrive, so that they do not repeat what has failed.
func (s *sender) pause(ctx context.Context, d time.Duration) {
	_ = sleep.For(ctx, s.Clock, d) // The caller looks at the context.
}

// untilSave returns how long to wait before a write of the store. send: writes have failed for so long that
// messages are sent without them.
func (s *sender) untilSave() (delay time.Duration, send bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now := s.Clock.Now()
	return s.saveAt.Sub(now), !s.unsavedSince.IsZero() && now.Sub(s.unsavedSince) >= maxUnsaved
}

// save stores the book, and reports whether that succeeded.
func (s *sender) save(ctx context.Context) bool {
	s.mutex.Lock()
	data, omitted, err := s.book.encode(s.Clock.Now(), s.share())
	included := slices.Clone(s.book.groups)
	s.mutex.Unlock()
	if omitted > 0 {
		s.log.Warn("too many nodes to store which notifications were sent: the next leader reports some groups again", "groups", omitted)
	}
	if err == nil {
		err = s.store.put(ctx, s.names, s.book.settings.Name, data)
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("cannot store which notifications were sent, retrying", "err", err)
		}
		now := s.Clock.Now()
		if s.saveAt = now.Add(storeAgain); s.unsavedSince.IsZero() {
			s.unsavedSince = now
		}
		return false
	}
	s.saveAt, s.unsavedSince = time.Time{}, time.Time{}
	for _, g := range included {
		g.saved = true
	}
	return true
}

// send sends a message once, and reports whether there is something to store.
func (s *sender) send(ctx context.Context, m message) (delivered bool) {
	settings := s.book.settings
	m.Log = s.log
	if err := s.Fence(); err != nil {
		s.pause(ctx, storeAgain) // The leadership is about to end.
		return false
	}
	reference, err := s.call(ctx, m.Notification)
	if err != nil && ctx.Err() != nil {
		return false
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now := s.Clock.Now()
	if err == nil {
		if len(reference) > cleanup.MaxNotificationReference {
			s.log.Warn("ignoring the reference of a notification: it is too long", "bytes", len(reference))
			reference = ""
		}
		if s.Redact(reference) != reference { // The receiver returned a part of the request.
			s.log.Warn("ignoring the reference of a notification: it contains a secret")
			reference = ""
		}
		s.book.delivered(m, reference, now)
		s.Metrics.NotificationDelivered(settings.Name, settings.Plugin)
		s.setUndelivered(settings.Name, nil)
		return true
	}
	wanted, _ := cleanup.RetryDelay(err)
	if errors.Is(err, errHangs) || errors.Is(err, errTooManyHang) {
		wanted = max(wanted, retryHungAfter)
	}
	// A Secret that was written during the try, or another content, may have fixed it.
	permanent := cleanup.IsPermanent(err) && s.book.causes == m.causes && m.group.version == m.version
	delay := s.book.fail(m.group, now, wanted, permanent, s.Random())
	reason := truncate.Bytes(s.Redact(err.Error()), maxReason)
	s.log.Warn("sending a notification failed, retrying", "title", m.Title, "in", delay.Round(time.Second).String(), "permanent", permanent, "err", reason)
	s.Metrics.NotificationFailed(settings.Name, settings.Plugin)
	s.setUndelivered(settings.Name, fmt.Errorf("not delivered, next try at %s: %s", now.Add(delay).UTC().Format(time.TimeOnly+" UTC"), reason))
	return false
}

// maxReason is the maximum length of the text of an error, in bytes. A receiver chooses it, and the agent's status has
// it.
const maxReason = 1024

// errTooManyHang is the error without a call.
var errTooManyHang = fmt.Errorf("%d earlier calls of the plugin have not returned", maxHung)

// errHangs is the error about a plugin that did not return.
var errHangs = errors.New("it did not stop when it was cancelled")

// call calls the plugin, with a time limit. A panic is a permanent error.
func (s *sender) call(ctx context.Context, n cleanup.Notification) (reference string, err error) {
	type result struct {
		reference string
		err       error
	}
	if s.hung.Load() >= maxHung {
		return "", errTooManyHang
	}
	plugin, name := s.book.settings.Bound, s.book.settings.Plugin
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	returned := make(chan result, 1)
	go func() {
		defer func() {
			if reason := recover(); reason != nil {
				s.log.Error("plugin panicked", "plugin", name, "reason", reason, "stack", string(debug.Stack()))
				returned <- result{err: cleanup.Permanent(fmt.Errorf("plugin %s panicked: %v", name, reason))}
			}
		}()
		reference, err := plugin.Notify(limited, n)
		returned <- result{reference, err}
	}()
	timer := s.Clock.NewTimer(timeout)
	defer timer.Stop()
	select {
	case done := <-returned:
		return done.reference, done.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-timer.C():
	}
	late := fmt.Errorf("plugin %s did not send the message within %s", name, timeout)
	cancel(late)
	cutOff := s.Clock.NewTimer(cutOffAfter)
	defer cutOff.Stop()
	select {
	case done := <-returned:
		if done.err != nil {
			done.err = fmt.Errorf("%w: %w", late, done.err)
		}
		return done.reference, done.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-cutOff.C():
		s.hung.Add(1)
		go func() {
			<-returned
			s.hung.Add(-1)
		}()
		return "", fmt.Errorf("%w, and %w", late, errHangs)
	}
}
