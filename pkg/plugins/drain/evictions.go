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
)

// drain is the state of one call of Cleanup.
type drain struct {
	*plugin
	target cleanup.Target
	// early are the pods that were there when the Node had been cordoned.
	early map[types.UID]bool
	tries map[types.UID]*try
	// comebacks are the controllers whose Pods came after the cordon.
	comebacks map[api.Object]*comeback
	// rollouts are those that replace Pods.
	rollouts map[types.UID]*rollout
	// namespaces are those that terminate and have Pods on the Node.
	namespaces map[string]terminatingNamespace
	// follow watches further objects until the call returns.
	follow   func(selection) (cache.Store, error)
	requests requests
	// due is when there is something to do though no pod changed, zero for never.
	due time.Time
	// windows of the controllers, by their UID.
	windows map[types.UID]*window
	budgets *budgets
	// disruptions are shared by all drains that share a limiter.
	disruptions *disruptions
}

func newDrain(p *plugin, target cleanup.Target, pods []*corev1.Pod) *drain {
	d := &drain{
		plugin: p, target: target, early: map[types.UID]bool{}, tries: map[types.UID]*try{}, comebacks: map[api.Object]*comeback{},
		rollouts: map[types.UID]*rollout{}, namespaces: map[string]terminatingNamespace{},
		windows: map[types.UID]*window{}, budgets: newBudgets(p.client.PolicyV1().RESTClient(), target.Log),
	}
	d.disruptions = &disruptions{}
	if p.limiter != nil {
		d.disruptions = &p.limiter.disruptions
	}
	for _, pod := range pods {
		d.early[pod.UID] = true
	}
	return d
}

// try is what came of the evictions of one pod.
type try struct {
	accepted bool
	// shortened: what was accepted is the short grace period of a Node that does not answer.
	shortened bool
	blocked   string
	// byBudget: what blocks it is a budget.
	byBudget bool
	// budgets is the version of its budgets at the last request, empty if they were not known.
	budgets string
	// namespace: the API server refuses because the namespace of the Pod is terminating.
	namespace bool
	delay     time.Duration
	next      time.Time
}

// Delays between evictions of a pod that a budget blocks.
const (
	firstDelay = time.Second
	lastDelay  = 10 * time.Second
)

// work is what there is to do about the pods of a Node.
type work struct {
	// evict are the pods whose turn it is.
	evict []*corev1.Pod
	// restart are those whose controllers replace them.
	restart []*corev1.Pod
	// late are those that came after the cordon.
	late map[types.UID]bool
	// left are all that are waited for.
	left []*corev1.Pod
	// refused says why nothing may be evicted.
	refused []string
}

// sort decides what there is to do.
func (d *drain) sort(pods []*corev1.Pod, in circumstances) work {
	w := work{late: map[types.UID]bool{}}
	lowest := rank{tier: own + 1}
	for _, pod := range pods {
		// In the second of the cordon, the first list tells which Pods were there before.
		in.late = !d.early[pod.UID] || in.cameLate(pod) && !pod.CreationTimestamp.Time.Equal(in.cordoned)
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
		w.left = append(w.left, pod)
		if ranked := d.rankOf(pod); ranked.less(lowest) {
			lowest = ranked
		}
	}
	later := func(pod *corev1.Pod) bool { return lowest.less(d.rankOf(pod)) }
	w.evict, w.restart = slices.DeleteFunc(w.evict, later), slices.DeleteFunc(w.restart, later)
	return w
}

// advance evicts what can be evicted now, and returns the pods that are waited
// for. While there is a pod that may neither stay nor be evicted, nothing is.
func (d *drain) advance(ctx context.Context, node *corev1.Node, pods []*corev1.Pod) ([]*corev1.Pod, error) {
	in := circumstancesOf(node, d.target, d.clock.Now())
	w := d.sort(pods, in)
	if len(w.refused) > 0 {
		return nil, fmt.Errorf("not draining node %s, some pods must not be evicted: %s", node.Name, strings.Join(w.refused, "; "))
	}
	d.due = time.Time{}
	others, failed := d.restartAll(ctx, w.restart)
	w.evict = d.holdBack(append(w.evict, others...), w.late, in.now)
	var notRequested error
	if w.evict, notRequested = d.requestAll(ctx, w.evict); notRequested != nil {
		failed = inOneLine(failed, notRequested)
	}
	for i, err := range d.tryAll(ctx, w.evict, in.unreachable) {
		// One pod that cannot be evicted keeps no other from it.
		if err != nil {
			failed = inOneLine(failed, fmt.Errorf("evicting pod %s: %w", nameOf(w.evict[i]), err))
		} else if known := d.tries[w.evict[i].UID]; !known.accepted {
			d.lookAgain(d.nextTry(known))
		}
	}
	d.readNamespaces(ctx, w.left)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", d.describe(w.left), context.Cause(ctx))
	}
	if in.unreachable {
		for _, pod := range w.left {
			if pod.DeletionTimestamp != nil { // Nobody tells when its grace period has passed.
				d.lookAgain(pod.DeletionTimestamp.Add(time.Second))
			}
		}
	}
	return w.left, failed
}

// inOneLine joins two errors, the first of which may be nil, unlike errors.Join in one line.
func inOneLine(first, second error) error {
	if first == nil {
		return second
	}
	return fmt.Errorf("%w; %w", first, second)
}

// nextTry is when a pod is tried again unless a budget changes, zero for never.
func (d *drain) nextTry(known *try) time.Time {
	if forceAt, forces := d.forceAt(); forces && known.next.IsZero() {
		return forceAt
	}
	return known.next
}

func (d *drain) lookAgain(at time.Time) {
	if !at.IsZero() && (d.due.IsZero() || at.Before(d.due)) {
		d.due = at
	}
}

// attempt is what came of one request.
type attempt struct {
	// at is when it was sent.
	at time.Time
	// forced: budgets were not respected any more, and deleted: nor was the eviction asked for.
	forced, deleted bool
	// unreachable: the Pod got the grace period of a Node that does not answer.
	unreachable bool
	err         error
}

// ask evicts a pod, or deletes it if budgets are not respected any more. It is called by
// several goroutines at once.
func (d *drain) ask(ctx context.Context, pod *corev1.Pod, unreachable bool) attempt {
	release, err := d.limiter.acquire(ctx, pod.Spec.NodeName)
	if err != nil {
		return attempt{err: err}
	}
	defer release()
	now := d.clock.Now()
	forceAt, forces := d.forceAt()
	if forces && !now.Before(forceAt) {
		evicted, err := d.delete(ctx, pod, d.grace(pod, unreachable))
		return attempt{at: now, forced: true, deleted: !evicted, unreachable: unreachable, err: err}
	}
	return attempt{at: now, unreachable: unreachable, err: d.evict(ctx, pod, d.grace(pod, unreachable), false)}
}

// conclude records what came of a request. The error is one that waiting does not fix.
func (d *drain) conclude(pod *corev1.Pod, made attempt) error {
	known := d.tries[pod.UID]
	var blocked blockedError
	switch {
	case made.err == nil:
		done := "pod evicted"
		switch {
		case made.deleted:
			done = "pod deleted without regard to its budgets (forceAfter)"
		case known.accepted:
			done = "pod evicted again, with a grace period of 1 s"
		}
		known.accepted, known.shortened, known.blocked, known.byBudget, known.namespace = true, made.unreachable, "", false, false
		log := d.target.Log.With("pod", nameOf(pod))
		if reason := d.decide(pod, circumstances{unreachable: made.unreachable}).reason; reason != "" {
			log = log.With("reason", reason)
		}
		log.Info(done)
	case errors.As(made.err, &blocked):
		known.blocked, known.byBudget, known.namespace = blocked.reason, blocked.cause == api.BlockedByBudget, blocked.cause == api.BlockedByNamespace
		known.next = made.at.Add(max(known.delay, blocked.after))
		if forceAt, forces := d.forceAt(); forces && !made.forced && forceAt.Before(known.next) {
			known.next = forceAt
		}
		known.delay = min(2*known.delay, lastDelay)
	default:
		return made.err
	}
	return nil
}

// shortest is the shortest grace period, in seconds, that leaves the Pod in the API until it
// has ended.
const shortest = 1

// grace is the time that a pod gets to end, nil for its own. On a Node that does
// not answer it would only be waited for: nothing ends there.
func (p *plugin) grace(pod *corev1.Pod, unreachable bool) *int64 {
	if unreachable {
		return ptr.To[int64](shortest)
	}
	if rule, _ := p.ruleOf(pod); rule.GracePeriodSeconds != nil {
		return rule.GracePeriodSeconds
	}
	return p.GracePeriodSeconds
}

// forceAt is from when on budgets are not asked any more, and whether it ever comes to that.
func (d *drain) forceAt() (time.Time, bool) {
	return d.target.Began.Add(d.ForceAfter.Duration), d.ForceAfter.Duration > 0
}

// wait returns when a pod or the Node changed or an eviction is due again.
func (d *drain) wait(ctx context.Context, changed <-chan struct{}) error {
	var due <-chan time.Time
	if !d.due.IsZero() {
		timer := d.clock.NewTimer(d.due.Sub(d.clock.Now()))
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
