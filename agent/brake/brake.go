// Package brake decides whether cleanups may begin: not during a pause, not while the brake is
// engaged, and not outside the maintenance windows. Cleanups that have begun continue.
//
// Operators pause and resume by annotations on the status ConfigMap. The leader also stores the state
// of the brake there. So both survive a restart of the agent.
package brake

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/nodecleanup/kubectl-nodecleanup/agent/configwatch"
	"github.com/nodecleanup/kubectl-nodecleanup/agent/nodecache"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/config"
)

// period is the time between two evaluations if nothing changes.
const period = time.Second

// Metrics shows whether cleanups may begin.
type Metrics interface {
	// CleanupsPaused reports the causes that prevent cleanups from starting. There are none while this
	// agent is not the leader.
	CleanupsPaused(pause, brake, window bool)
}

// Notifications tell people that no cleanup begins. Its methods do not block.
type Notifications interface {
	// Paused says why no cleanup begins because of an operator or the brake, "" if cleanups may begin.
	Paused(reason string)
}

// Options are the dependencies of a Brake. All are required.
type Options struct {
	// Client writes only while this agent is the leader.
	Client    kubernetes.Interface
	Namespace string
	// Config returns the active config.
	Config func() *config.Config
	// Nodes returns all Nodes; known is false before the first list.
	Nodes func() (nodes []*nodecache.Node, known bool)
	// Requests counts the requests to the API server.
	Requests *Requests
	// Prometheus reads alerts.
	Prometheus Prometheus
	Events     record.EventRecorder
	// Notifications get each change.
	Notifications Notifications
	Metrics       Metrics
	Clock         clock.WithTicker
	Log           *slog.Logger
}

// Brake knows whether cleanups may begin. It is safe for concurrent use.
type Brake struct {
	Options
	// changed has an element when the state may have changed.
	changed chan struct{}

	mutex sync.Mutex
	state state
	// read is closed once the state is read.
	read chan struct{}
}

// New returns a Brake that has not read its state yet. No cleanup may begin until then.
func New(options Options) *Brake {
	b := &Brake{Options: options, changed: make(chan struct{}, 1)}
	b.Forget()
	return b
}

// Reason returns why no cleanup may begin now, "" if cleanups may begin.
func (b *Brake) Reason() string {
	state := b.evaluate()
	return state.reason()
}

// OpenFor returns for how long cleanups have been allowed to begin.
func (b *Brake) OpenFor() time.Duration {
	state := b.evaluate()
	return state.openFor(b.Config().Windows, b.Clock.Now())
}

// Forget makes the Brake read its state again. Call it when this agent becomes the leader, before
// Run and Await: another leader may have changed the state.
func (b *Brake) Forget() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.state, b.read = state{}, make(chan struct{})
}

// evaluate updates and returns the state. It wakes Run if the state has changed.
func (b *Brake) evaluate() state {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.state.known {
		before := b.state.brake
		b.state.evaluate(b.Config(), signals{b.Nodes, b.Requests}, b.Clock.Now())
		if !equality.Semantic.DeepEqual(before, b.state.brake) {
			b.wake()
		}
	}
	return b.state
}

func (b *Brake) wake() {
	select {
	case b.changed <- struct{}{}:
	default: // Run is about to evaluate.
	}
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
		b.Log.Error("cannot read whether cleanups are paused, no cleanup begins until then", "configmap", b.Namespace+"/"+api.StatusName)
	}
}

// Run follows the requests of operators and the config until ctx ends. After each change, it stores
// the state and calls changed.
func (b *Brake) Run(ctx context.Context, changed func()) error {
	defer b.Metrics.CleanupsPaused(false, false, false) // The next leader reports it.
	var group sync.WaitGroup
	defer group.Wait() // Alerts of this leadership must not reach the next one.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	group.Go(func() { failed <- configwatch.Follow(ctx, b.Client, b.Namespace, api.StatusName, b.set) })
	group.Go(func() { b.followAlerts(ctx) })
	ticker := b.Clock.NewTicker(period)
	defer ticker.Stop()
	var shown, stored state
	for {
		select {
		case <-ctx.Done():
			return <-failed
		case err := <-failed:
			return err
		case <-ticker.C():
		case <-b.changed:
		}
		now := b.evaluate()
		if !now.known {
			continue
		}
		if !stored.known {
			stored = now
			stored.brake = api.Brake{} // The first store changes nothing.
		}
		if shown.reason() != now.reason() || !shown.known {
			b.publish(shown, now)
			shown = now
			changed()
		}
		if now.pauseLost {
			if err := b.restorePause(ctx, now); err != nil {
				b.Log.Warn("cannot store the pause again, retrying; no cleanup begins", "err", err)
				continue
			}
		}
		// A ConfigMap that was deleted and created again does not have it.
		if stored.status.UID != now.status.UID || now.brakeBroken || !equality.Semantic.DeepEqual(stored.brake, now.brake) {
			if err := b.store(ctx, now.brake); err != nil {
				b.Log.Warn("cannot store the state of the brake, retrying", "err", err)
				continue
			}
			stored = now
		}
	}
}

// set updates the state from the ConfigMap. It reads the state of the brake only once: after that, this
// agent is the only one to change it. A pause does not end because a user deleted the ConfigMap.
func (b *Brake) set(status *corev1.ConfigMap) {
	brake, err := api.BrakeOf(status)
	b.mutex.Lock()
	defer b.mutex.Unlock()
	defer b.wake()
	_, requested := status.Annotations[api.AnnotationPause]
	isNew := b.state.known && b.state.status.UID != status.UID
	if b.state.pauseLost = !requested && b.state.pause.Paused && (isNew || b.state.pauseLost); !b.state.pauseLost {
		b.state.pause = api.PauseOf(status)
	}
	b.state.status = corev1.ObjectReference{
		APIVersion: "v1", Kind: "ConfigMap", Namespace: status.Namespace, Name: status.Name, UID: status.UID, ResourceVersion: status.ResourceVersion,
	}
	if b.state.brakeBroken = err != nil; err != nil {
		b.Log.Error("cannot decode the stored state of the brake; the agent writes it again", "err", err)
	}
	if b.state.known {
		return
	}
	b.state.brake = brake
	b.state.known = true
	close(b.read)
}

// publish reports a change by an Event on the status ConfigMap, by metrics and in the log.
func (b *Brake) publish(before, now state) {
	b.Metrics.CleanupsPaused(now.pause.Paused, now.brake.Since != nil, now.brake.WindowOpensAt != nil)
	b.Notifications.Paused(now.paused())
	status, reason := &now.status, now.reason()
	switch {
	case now.pause.Paused:
		b.Events.Event(status, corev1.EventTypeWarning, "CleanupsPaused", "No cleanup begins: "+reason)
	case now.brake.Since != nil:
		b.Events.Event(status, corev1.EventTypeWarning, "BrakeEngaged", "No cleanup begins: "+reason)
	case before.pause.Paused:
		b.Events.Event(status, corev1.EventTypeNormal, "CleanupsResumed", resumed(now.pause))
	case before.brake.Since != nil && now.pause.At.Equal(now.brake.ReleasedAt.Time):
		b.Events.Event(status, corev1.EventTypeNormal, "BrakeReleased", "Brake released. "+resumed(now.pause))
	case before.brake.Since != nil && b.Config().Brake.Enabled():
		b.Events.Event(status, corev1.EventTypeNormal, "BrakeReleased", fmt.Sprintf("Brake released: no new cause for %s", b.Config().Brake.ReleaseAfter))
	case before.brake.Since != nil:
		b.Events.Event(status, corev1.EventTypeNormal, "BrakeReleased", "Brake released: the config no longer has a brake")
	}
	if reason == "" {
		b.Log.Info("cleanups may begin")
		return
	}
	b.Log.Warn("no cleanup begins", "reason", reason)
}

func resumed(pause api.Pause) string {
	text := "Cleanups resumed by " + pause.Who()
	if pause.Reason != "" {
		text += ": " + pause.Reason
	}
	return text
}

// store writes the state of the brake for the CLI and for the next leader.
func (b *Brake) store(ctx context.Context, brake api.Brake) error {
	text, err := json.Marshal(brake)
	if err != nil {
		return fmt.Errorf("encoding the state of the brake: %w", err)
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]string{api.BrakeKey: string(text)}})
	if err != nil {
		return fmt.Errorf("encoding the state of the brake: %w", err)
	}
	if _, err := b.Client.CoreV1().ConfigMaps(b.Namespace).Patch(ctx, api.StatusName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("writing the state of the brake into configmap %s/%s: %w", b.Namespace, api.StatusName, err)
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.state.brakeBroken = false
	return nil
}

// restorePause stores the pause in the new ConfigMap, in the name of the agent: the admission policy
// rejects the name of another user. The write fails with Conflict if a user has paused or resumed since.
func (b *Brake) restorePause(ctx context.Context, now state) error {
	review, err := b.Client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("reading the name of the agent's user: %w", err)
	}
	user, reason := review.Status.UserInfo.Username, now.pause.Reason
	if now.pause.By != user {
		reason = fmt.Sprintf("%s; the agent restored the pause after ConfigMap %s was deleted", now.pause, api.StatusName)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": now.status.ResourceVersion, "annotations": map[string]string{
		api.AnnotationPause:       "true",
		api.AnnotationPauseBy:     user,
		api.AnnotationPauseAt:     b.Clock.Now().UTC().Format(time.RFC3339),
		api.AnnotationPauseReason: reason,
	}}})
	if err != nil {
		return fmt.Errorf("encoding the pause: %w", err)
	}
	if _, err := b.Client.CoreV1().ConfigMaps(b.Namespace).Patch(ctx, api.StatusName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("writing the pause into configmap %s/%s: %w", b.Namespace, api.StatusName, err)
	}
	b.Log.Warn("the pause was restored: configmap "+api.StatusName+" was deleted during a pause", "pause", now.pause.String())
	return nil
}
