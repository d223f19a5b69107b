// Package notify sends the notifications of the config. It groups the events of
// many Nodes into one message, which it updates. No cleanup waits for it: it accepts events without
// blocking, and a receiver that fails or hangs delays only the messages of its own notification.
//
// It is level-triggered: the current run records determine each message. What was sent is stored in one
// ConfigMap, so that the next leader continues.
package notify

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// maxInbox is the maximum number of Nodes in the inbox. If there are more, all run records are read again.
const maxInbox = 10000

// Metrics counts messages.
type Metrics interface {
	NotificationDelivered(notification, plugin string)
	// NotificationFailed counts a try that failed.
	NotificationFailed(notification, plugin string)
	// NotificationDropped counts a group of Nodes whose message is not sent, or not updated any more.
	NotificationDropped(notification, plugin string)
}

// Options are the dependencies of a Notifier. All are required.
type Options struct {
	// ConfigMaps are those of the namespace with the run records. They are written only while this agent
	// is the leader.
	ConfigMaps corev1client.ConfigMapInterface
	Namespace  string
	// Config returns the active config.
	Config func() *config.Config
	// Redact removes secrets from a text.
	Redact func(string) string
	// Random returns a number from 0 up to 1, for the jitter of retries.
	Random  func() float64
	Metrics Metrics
	// Fence returns an error when this agent may no longer act as the leader.
	Fence func() error
	Clock clock.WithTicker
	Log   *slog.Logger
}

// Notifier sends notifications while this agent is the leader. Its methods are safe for concurrent use. Those
// that accept an event do not block.
type Notifier struct {
	Options
	store *store
	// running: Prepare was called. Before that, the Notifier ignores events: Run reads the run records.
	running atomic.Bool
	// wake has an element when the inbox, or what follows it, has changed.
	wake chan struct{}

	mutex sync.Mutex
	// inbox has the newest observation of each Node that was not handled yet.
	inbox map[types.UID]observation
	// reread: all run records must be read again. restart: the config has changed. secrets were written.
	reread, restart bool
	secrets         []string
	// pause is the newest observation about a pause, nil if there is none.
	pause *observation
	// undelivered are the errors of the notifications whose newest message was not delivered, by name.
	undelivered map[string]error
}

// Undelivered returns why the newest message of a notification was not delivered, nil if it was, or if there
// was none since this agent leads or the config has changed. The error holds no secret.
func (n *Notifier) Undelivered(name string) error {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.undelivered[name]
}

// setUndelivered records the result of a delivery.
func (n *Notifier) setUndelivered(name string, err error) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.undelivered[name] = err
}

// New returns a Notifier that sends nothing until Run is called.
func New(options Options) *Notifier {
	return &Notifier{
		Options: options, store: &store{configMaps: options.ConfigMaps, namespace: options.Namespace},
		wake: make(chan struct{}, 1), inbox: map[types.UID]observation{}, undelivered: map[string]error{},
	}
}

// RunSaved accepts a run record that was stored.
func (n *Notifier) RunSaved(run *api.Run) {
	if n.running.Load() {
		n.take(ofRun(run))
	}
}

// Unprotected reports that a Node was deleted without its cleanup. The message says why.
func (n *Notifier) Unprotected(node metav1.Object, message string) {
	if n.running.Load() {
		n.take(observation{
			uid: node.GetUID(), node: node.GetName(), labels: labels.Merge(node.GetLabels(), nil),
			kinds: unprotected, ended: true, endedAt: n.Clock.Now(), message: shorten(message),
		})
	}
}

// Paused reports why no cleanup begins, "" if cleanups may begin. Call it with the state at the
// beginning, too.
func (n *Notifier) Paused(reason string) {
	if !n.running.Load() {
		return
	}
	o := observation{uid: pauseUID, message: shorten(reason), kinds: paused}
	if reason == "" {
		o.kinds, o.ended, o.endedAt = 0, true, n.Clock.Now()
	}
	n.request(func() { n.pause = &o }) // Even without notifications: a later config may have some.
	n.take(o)
}

// ConfigChanged makes the Notifier use the active config.
func (n *Notifier) ConfigChanged() { n.request(func() { n.restart = true }) }

// SecretWritten makes the notifications that use the Secret retry immediately.
func (n *Notifier) SecretWritten(name string) {
	n.request(func() { n.secrets = append(n.secrets, name) })
}

// take puts an observation into the inbox.
func (n *Notifier) take(o observation) {
	if len(n.Config().Notifications) == 0 {
		return
	}
	n.request(func() {
		if _, known := n.inbox[o.uid]; !known && len(n.inbox) >= maxInbox {
			n.reread = true
			return
		}
		n.inbox[o.uid] = o
	})
}

func (n *Notifier) request(change func()) {
	if !n.running.Load() {
		return
	}
	n.mutex.Lock()
	change()
	n.mutex.Unlock()
	select {
	case n.wake <- struct{}{}:
	default: // A wake-up is pending already.
	}
}

// Prepare makes the Notifier accept events. Call it when this agent becomes the leader, before anything
// changes a run record.
func (n *Notifier) Prepare() { n.running.Store(true) }

// Run sends notifications until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	n.Prepare()
	defer n.forget()
	for ctx.Err() == nil {
		if len(n.Config().Notifications) == 0 {
			n.await(ctx)
			n.discard()
			continue
		}
		n.runSenders(ctx)
	}
	return nil
}

// forget discards everything when this agent stops leading.
func (n *Notifier) forget() {
	n.running.Store(false)
	n.discard()
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.pause = nil
}

func (n *Notifier) discard() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.inbox, n.reread, n.restart, n.secrets = map[types.UID]observation{}, false, false, nil
}
