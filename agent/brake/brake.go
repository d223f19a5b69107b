// Package brake decides whether cleanups may begin. Operators pause and resume all cleanups by
// annotations on the status ConfigMap, which outlive the agent. Cleanups that have begun continue.
package brake

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/configwatch"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

// Metrics shows whether cleanups may begin.
type Metrics interface {
	// CleanupsPaused says whether this agent, as the leader, lets no cleanup begin.
	CleanupsPaused(bool)
}

// Options are the dependencies of a Brake. All are required.
type Options struct {
	Client    kubernetes.Interface
	Namespace string
	Events    record.EventRecorder
	Metrics   Metrics
	Clock     clock.WithDelayedExecution
	Log       *slog.Logger
}

// Brake knows whether cleanups may begin. It is safe for concurrent use.
type Brake struct {
	Options
	mutex sync.Mutex
	state state
	// read is closed when the state is read.
	read chan struct{}
}

// state is what the Brake decides by.
type state struct {
	known bool
	pause api.Pause
}

// New returns a Brake that has read nothing yet, so that no cleanup may begin.
func New(options Options) *Brake {
	b := &Brake{Options: options}
	b.Forget()
	return b
}

// Reason returns why no cleanup may begin now, "" if cleanups may begin.
func (b *Brake) Reason() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.state.reason()
}

// OpenFor returns for how long cleanups have been allowed to begin.
func (b *Brake) OpenFor() time.Duration {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.state.openFor(b.Clock.Now())
}

func (s state) reason() string {
	if !s.known {
		return "the agent cannot read whether cleanups are paused (configmap " + api.StatusName + ")"
	}
	return s.pause.String()
}

func (s state) openFor(now time.Time) time.Duration {
	switch {
	case s.reason() != "":
		return 0
	case s.pause.At.IsZero():
		return math.MaxInt64 // Nobody ever paused.
	}
	return max(0, now.Sub(s.pause.At))
}

// Forget makes the Brake read its state again. Call it when this agent has become the leader,
// before Run and Await: it was not followed meanwhile.
func (b *Brake) Forget() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.state.known, b.read = false, make(chan struct{})
}

// Run follows what operators request until ctx ends, and calls changed after each change.
func (b *Brake) Run(ctx context.Context, changed func()) error {
	defer b.Metrics.CleanupsPaused(false) // The next leader says it.
	return configwatch.Follow(ctx, b.Client, b.Namespace, api.StatusName, func(status *corev1.ConfigMap) {
		if b.set(status) {
			changed()
		}
	})
}

// Await waits until the state is read, for the given time at most.
func (b *Brake) Await(ctx context.Context, atMost time.Duration) {
	b.mutex.Lock()
	read := b.read
	b.mutex.Unlock()
	select {
	case <-ctx.Done():
	case <-read:
	case <-b.Clock.After(atMost):
		b.Log.Error("no cleanup begins until the agent has read whether cleanups are paused", "configmap", b.Namespace+"/"+api.StatusName)
	}
}

// set takes over what the ConfigMap says, and reports whether that is new.
func (b *Brake) set(status *corev1.ConfigMap) bool {
	pause := api.PauseOf(status)
	b.mutex.Lock()
	before := b.state
	b.state = state{known: true, pause: pause}
	if !before.known {
		close(b.read)
	}
	b.mutex.Unlock()
	b.Metrics.CleanupsPaused(pause.Paused)
	if before.known && before.pause == pause {
		return false
	}
	switch {
	case pause.Paused:
		b.Log.Warn("cleanups are paused", "by", pause.By, "reason", pause.Reason)
		b.Events.Event(status, corev1.EventTypeWarning, "CleanupsPaused", "No cleanup begins: "+pause.String())
	case before.pause.Paused:
		b.Log.Info("cleanups are resumed", "by", pause.By, "reason", pause.Reason)
		b.Events.Event(status, corev1.EventTypeNormal, "CleanupsResumed", resumed(pause))
	}
	return true
}

func resumed(pause api.Pause) string {
	text := "Cleanups are resumed by " + pause.Who()
	if pause.Reason != "" {
		text += ": " + pause.Reason
	}
	return text
}
