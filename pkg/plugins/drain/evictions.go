package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// drain is the state of one call of Cleanup.
type drain struct {
	*plugin
	target cleanup.Target
	// beforeCordon are the Pods of the first list after the cordon.
	beforeCordon map[types.UID]bool
	evictions    map[types.UID]*evictionState
	// controllers are the backoffs of controllers whose Pods were created after the cordon.
	controllers map[api.Object]*controllerBackoff
	// rollouts by the UID of the Pod that they replace.
	rollouts map[types.UID]*rollout
	// namespaces that terminate and have Pods on the Node.
	namespaces map[string]terminatingNamespace
	// follow watches further objects until the call returns.
	follow   func(selection) (cache.Store, error)
	requests requests
	// requeue is when to advance next if no object changes, zero for never.
	requeue time.Time
	// windows by the UID of the controller.
	windows map[types.UID]*window
	budgets *budgets
	// disruptions are shared by all drains that share a limiter.
	disruptions *disruptions
}

func newDrain(p *plugin, target cleanup.Target, pods []*corev1.Pod) *drain {
	d := &drain{
		plugin: p, target: target, beforeCordon: map[types.UID]bool{}, evictions: map[types.UID]*evictionState{}, controllers: map[api.Object]*controllerBackoff{},
		rollouts: map[types.UID]*rollout{}, namespaces: map[string]terminatingNamespace{},
		windows: map[types.UID]*window{}, budgets: newBudgets(p.client.PolicyV1().RESTClient(), target.Log),
	}
	d.disruptions = &disruptions{}
	if p.limiter != nil {
		d.disruptions = &p.limiter.disruptions
	}
	for _, pod := range pods {
		d.beforeCordon[pod.UID] = true
	}
	return d
}

// evictionState is the state of the eviction of one Pod.
type evictionState struct {
	accepted bool
	// shortened: the accepted grace period is that for a kubelet that does not answer.
	shortened bool
	// blocked is why the eviction is blocked.
	blocked string
	// byBudget: a budget blocks it.
	byBudget bool
	// budgets is the version of its budgets at the last request, empty if they were not known.
	budgets string
	// namespace: the API server refuses because the namespace of the Pod is terminating.
	namespace bool
	// delay is the backoff, next the time of the next request.
	delay time.Duration
	next  time.Time
}

// Backoff of blocked evictions.
const (
	firstDelay = time.Second
	lastDelay  = 10 * time.Second
)

// work groups the Pods of a Node by the action of advance.
type work struct {
	// evict are the Pods of the lowest rank.
	evict []*corev1.Pod
	// restart are the Pods of the lowest rank that a rollout replaces.
	restart []*corev1.Pod
	// late are the Pods that came after the cordon.
	late map[types.UID]bool
	// remaining are all Pods that have to leave the Node.
	remaining []*corev1.Pod
	// refused are the reasons why no Pod may be evicted.
	refused []string
}

// sort decides what to do with each Pod.
func (d *drain) sort(pods []*corev1.Pod, in circumstances) work {
	w := work{late: map[types.UID]bool{}}
	lowest := rank{tier: own + 1}
	for _, pod := range pods {
		// For a Pod created in the same second as the cordon, the first list shows whether it came
		// before.
		in.late = !d.beforeCordon[pod.UID] || in.cameLate(pod) && !pod.CreationTimestamp.Time.Equal(in.cordoned)
		switch decision := d.decide(pod, in); decision.action {
		case leave:
			continue
		case refuse:
			w.refused = append(w.refused, fmt.Sprintf("%s: %s", nameOf(pod), decision.reason))
			continue
		case evict:
			w.evict = append(w.evict, pod)
		case restart:
			w.restart = append(w.restart, pod)
		}
		w.late[pod.UID] = in.late
		w.remaining = append(w.remaining, pod)
		if ranked := d.rankOf(pod); ranked.less(lowest) {
			lowest = ranked
		}
	}
	later := func(pod *corev1.Pod) bool { return lowest.less(d.rankOf(pod)) }
	w.evict, w.restart = slices.DeleteFunc(w.evict, later), slices.DeleteFunc(w.restart, later)
	return w
}

// advance evicts the Pods that can be evicted now, and returns the remaining ones. If a Pod may
// neither stay nor be evicted, it evicts none.
func (d *drain) advance(ctx context.Context, node *corev1.Node, onNode []*corev1.Pod) ([]*corev1.Pod, error) {
	in := circumstancesOf(node, d.target, d.clock.Now())
	w := d.sort(onNode, in)
	if len(w.refused) > 0 {
		return nil, fmt.Errorf("not draining node %s, %s: %s", node.Name, pods.NotEvictable, strings.Join(w.refused, "; "))
	}
	d.requeue = time.Time{}
	others, failed := d.restartAll(ctx, w.restart)
	w.evict = d.backOff(append(w.evict, others...), w.late, in.now)
	var notRequested error
	if w.evict, notRequested = d.requestAll(ctx, w.evict); notRequested != nil {
		failed = inOneLine(failed, notRequested)
	}
	for i, err := range d.dispatchAll(ctx, w.evict, in.unreachable) {
		// An error of one Pod does not stop the others.
		if err != nil {
			failed = inOneLine(failed, fmt.Errorf("evicting pod %s: %w", nameOf(w.evict[i]), err))
		} else if state := d.evictions[w.evict[i].UID]; !state.accepted {
			d.requeueAt(d.nextRequest(state))
		}
	}
	d.readNamespaces(ctx, w.remaining)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", d.describe(w.remaining), context.Cause(ctx))
	}
	for _, pod := range w.remaining {
		// No watch event reports the end of its grace period.
		if pod.DeletionTimestamp != nil && (in.unreachable || len(pod.Finalizers) > 0 && in.now.Before(pod.DeletionTimestamp.Time)) {
			d.requeueAt(pod.DeletionTimestamp.Add(time.Second))
		}
	}
	return w.remaining, failed
}

// inOneLine joins two errors in one line, unlike errors.Join. The first may be nil.
func inOneLine(first, second error) error {
	if first == nil {
		return second
	}
	return fmt.Errorf("%w; %w", first, second)
}

// nextRequest is when the eviction is requested again if no budget changes, zero for never.
func (d *drain) nextRequest(state *evictionState) time.Time {
	if forceAt, forces := d.forceAt(); forces && state.next.IsZero() {
		return forceAt
	}
	return state.next
}

// requeueAt makes the drain advance at that time or earlier.
func (d *drain) requeueAt(at time.Time) {
	if !at.IsZero() && (d.requeue.IsZero() || at.Before(d.requeue)) {
		d.requeue = at
	}
}

// result is the result of one request.
type result struct {
	// sentAt is when the request was sent.
	sentAt time.Time
	// forced: budgets were no longer respected. deleted: the Pod was deleted, not evicted.
	forced, deleted bool
	// unreachable: the Pod got the grace period for a kubelet that does not answer.
	unreachable bool
	err         error
}

// evictOrDelete evicts a Pod, or deletes it if forceAfter has passed. It is safe for concurrent use.
func (d *drain) evictOrDelete(ctx context.Context, pod *corev1.Pod, unreachable bool) result {
	release, err := d.limiter.acquire(ctx, pod.Spec.NodeName)
	if err != nil {
		return result{err: err}
	}
	defer release()
	now := d.clock.Now()
	forceAt, forces := d.forceAt()
	if forces && !now.Before(forceAt) {
		evicted, err := d.delete(ctx, pod, d.grace(pod, unreachable))
		return result{sentAt: now, forced: true, deleted: !evicted, unreachable: unreachable, err: err}
	}
	return result{sentAt: now, unreachable: unreachable, err: d.evict(ctx, pod, d.grace(pod, unreachable), false)}
}

// record updates the state of an eviction by the result of a request. It returns the error of
// the request if waiting does not help.
func (d *drain) record(pod *corev1.Pod, result result) error {
	state := d.evictions[pod.UID]
	var blocked blockedError
	switch {
	case result.err == nil:
		message := "pod evicted"
		switch {
		case result.deleted:
			message = "pod deleted without regard to its budgets (forceAfter)"
		case state.accepted:
			message = "pod evicted again, with a grace period of 1 s"
		}
		state.accepted, state.shortened, state.blocked, state.byBudget, state.namespace = true, result.unreachable, "", false, false
		log := d.target.Log.With("pod", nameOf(pod))
		if reason := d.decide(pod, circumstances{unreachable: result.unreachable}).reason; reason != "" {
			log = log.With("reason", reason)
		}
		log.Info(message)
	case errors.As(result.err, &blocked):
		state.blocked, state.byBudget, state.namespace = blocked.reason, blocked.cause == api.BlockedByBudget, blocked.cause == api.BlockedByNamespace
		state.next = result.sentAt.Add(max(state.delay, blocked.after))
		if forceAt, forces := d.forceAt(); forces && !result.forced && forceAt.Before(state.next) {
			state.next = forceAt
		}
		state.delay = min(2*state.delay, lastDelay)
	default:
		return result.err
	}
	return nil
}

// shortest is the shortest grace period, in seconds, that leaves the Pod in the API until it
// has ended.
const shortest = 1

// grace returns the grace period of a Pod, nil for the Pod's own. If the kubelet does not answer,
// no container ends, so a longer one has no use.
func (p *plugin) grace(pod *corev1.Pod, unreachable bool) *int64 {
	if unreachable {
		return ptr.To[int64](shortest)
	}
	if rule, _ := p.ruleOf(pod); rule.GracePeriodSeconds != nil {
		return rule.GracePeriodSeconds
	}
	return p.GracePeriodSeconds
}

// forceAt returns when forceAfter has passed, and whether it is set.
func (d *drain) forceAt() (time.Time, bool) {
	return d.target.Began.Add(d.ForceAfter.Duration), d.ForceAfter.Duration > 0
}

// wait returns when an object changed, or at the time of requeue.
func (d *drain) wait(ctx context.Context, changed <-chan struct{}) error {
	var due <-chan time.Time
	if !d.requeue.IsZero() {
		timer := d.clock.NewTimer(d.requeue.Sub(d.clock.Now()))
		defer timer.Stop()
		due = timer.C()
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-d.budgets.changed:
	case <-due:
	}
	return nil
}
