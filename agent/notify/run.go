package notify

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

const (
	// readEvery is the time between two reads of all run records. If a user deletes a record, no event
	// reports the end of its cleanup.
	readEvery = time.Hour
	// readAgain is the wait after a failed read.
	readAgain = 10 * time.Second
	// maxUnread is how long messages wait for the first read.
	maxUnread = time.Minute
	pageSize  = 500
)

// runSenders runs a sender for each notification of the config, until the config changes or ctx ends.
func (n *Notifier) runSenders(ctx context.Context) {
	settings := n.Config().Notifications
	if err := n.store.load(ctx); err != nil {
		if ctx.Err() == nil {
			n.Log.Warn("cannot read which notifications were sent, retrying", "err", err)
			n.awaitRestart(ctx, readAgain)
		}
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	n.mutex.Lock()
	clear(n.undelivered) // Their plugins and receivers may be other ones now.
	n.mutex.Unlock()
	var senders []*sender
	for _, one := range settings {
		senders = append(senders, n.newSender(one, settings))
	}
	unread := n.read(ctx, senders)
	n.mutex.Lock()
	if n.pause != nil {
		n.inbox[pauseUID] = *n.pause
	}
	n.mutex.Unlock()
	for _, sender := range senders {
		group.Go(func() { sender.run(ctx) })
	}
	n.dispatch(ctx, senders, unread)
}

func (n *Notifier) newSender(one config.Notification, all []config.Notification) *sender {
	s := &sender{Notifier: n, log: n.Log.With("notification", one.Name), wake: make(chan struct{}, 1), book: newBook(one, func() string { return newKey(one.Name) })}
	s.book.unread, s.book.readBy = true, n.Clock.Now().Add(maxUnread)
	for _, other := range all {
		s.names = append(s.names, other.Name)
	}
	if err := s.book.restore(n.store.get(one.Name), n.Clock.Now()); err != nil {
		s.log.Error("cannot read which notifications were sent: some may be sent again", "err", err)
	}
	return s
}

// newKey returns a unique key for a group.
func newKey(notification string) string {
	random := make([]byte, 6)
	_, _ = rand.Read(random) // It never fails: https://pkg.go.dev/crypto/rand#Read
	return notification + "-" + hex.EncodeToString(random)
}

// saveAll stores what the senders have, because the next ones begin with what is stored. It gives up after
// maxSave, so that a store that cannot be written blocks no change of the config.
func (n *Notifier) saveAll(ctx context.Context, senders []*sender) {
	began := n.Clock.Now()
	for _, s := range senders {
		for !s.save(ctx) {
			if ctx.Err() != nil {
				return
			}
			if n.Clock.Since(began) >= maxSave {
				s.log.Error("the config has changed, and cannot store which notifications were sent: messages can be lost or repeated")
				break
			}
			n.awaitRestart(ctx, storeAgain)
		}
	}
}

// dispatch passes observations on to the senders, until the config changes or ctx ends. unread: the run
// records could not be read yet.
func (n *Notifier) dispatch(ctx context.Context, senders []*sender, unread bool) {
	ticker := n.Clock.NewTicker(readEvery)
	defer ticker.Stop()
	var again <-chan time.Time // It fires also while events arrive.
	read := func() {
		if again = nil; n.read(ctx, senders) {
			again = n.Clock.After(readAgain)
		}
	}
	if unread {
		again = n.Clock.After(readAgain)
	}
	for {
		n.mutex.Lock()
		inbox, reread, restart, secrets := n.inbox, n.reread, n.restart, n.secrets
		n.inbox, n.reread, n.restart, n.secrets = map[types.UID]observation{}, false, false, nil
		n.mutex.Unlock()
		for _, s := range senders {
			s.change(func(b *book) {
				now := n.Clock.Now()
				b.unread = b.unread || reread
				for _, o := range inbox {
					b.observe(o, now, false)
				}
				if usesAny(b.settings.Secrets, secrets) {
					b.retry()
				}
			})
		}
		if reread {
			n.Log.Warn("too many changes at once for notifications, reading all run records", "limit", maxInbox)
			if again == nil { // Otherwise the failed read is repeated soon.
				read()
			}
		}
		if restart {
			n.saveAll(ctx, senders)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		case <-ticker.C():
			read()
		case <-again:
			read()
		}
	}
}

func usesAny(keys []cleanup.SecretKey, names []string) bool {
	for _, key := range keys {
		for _, name := range names {
			if key.Name == name {
				return true
			}
		}
	}
	return false
}

// read reads all run records and passes them on. It reports whether that failed.
func (n *Notifier) read(ctx context.Context, senders []*sender) (failed bool) {
	found, began := map[types.UID]bool{}, n.Clock.Now()
	for _, s := range senders {
		s.change(func(b *book) { b.readBegins(began) })
	}
	options := metav1.ListOptions{LabelSelector: labels.Set{api.LabelRun: "true"}.String(), Limit: pageSize}
	for {
		list, err := n.ConfigMaps.List(ctx, options)
		if err != nil {
			if ctx.Err() == nil {
				n.Log.Warn("cannot read the run records for notifications, retrying", "err", fmt.Errorf("listing run records: %w", err))
			}
			return true
		}
		var page []observation
		for i := range list.Items {
			run, err := api.DecodeRun(&list.Items[i])
			if err != nil { // The controller reports it.
				found[types.UID(list.Items[i].Labels[api.LabelNodeUID])] = true
				continue
			}
			found[run.NodeUID] = true
			page = append(page, ofRun(run))
		}
		for _, s := range senders {
			s.change(func(b *book) {
				for _, o := range page {
					b.observe(o, n.Clock.Now(), true)
				}
			})
		}
		if options.Continue = list.Continue; options.Continue == "" {
			break
		}
	}
	for _, s := range senders {
		s.change(func(b *book) {
			b.endAbsent(func(uid types.UID) bool { return found[uid] })
			b.readEnds(began)
		})
	}
	return false
}

// await waits until the inbox, or what follows it, has changed.
func (n *Notifier) await(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-n.wake:
	}
}

// awaitRestart waits until the config changes or the time has passed. Events do not end it.
func (n *Notifier) awaitRestart(ctx context.Context, d time.Duration) {
	timer := n.Clock.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
			return
		case <-n.wake:
		}
		n.mutex.Lock()
		restart := n.restart
		n.restart = false
		n.mutex.Unlock()
		if restart {
			return
		}
	}
}
