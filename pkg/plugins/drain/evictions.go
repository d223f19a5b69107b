package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// early are the pods that were there when the Node had been cordoned.
	early map[types.UID]bool
	tries map[types.UID]*try
	// comebacks are the controllers whose Pods came after the cordon.
	comebacks map[api.Object]*comeback
	// namespaces are those that terminate and have Pods on the Node.
	namespaces map[string]terminatingNamespace
	// follow watches further objects until the call returns.
	follow   func(selection) (cache.Store, error)
	requests requests
	// due is when there is something to do though no pod changed, zero for never.
	due time.Time
}

func newDrain(p *plugin, target cleanup.Target, pods []*corev1.Pod) *drain {
	d := &drain{plugin: p, target: target, early: map[types.UID]bool{}, tries: map[types.UID]*try{}, comebacks: map[api.Object]*comeback{}, namespaces: map[string]terminatingNamespace{}}
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
	// late are those of evict that came after the cordon.
	late map[types.UID]bool
	// left are all that are waited for.
	left []*corev1.Pod
	// refused says why nothing may be evicted.
	refused []string
}

// sort decides what there is to do.
func (d *drain) sort(pods []*corev1.Pod, in circumstances) work {
	w := work{late: map[types.UID]bool{}}
	lowest := own
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
			w.evict, w.late[pod.UID] = append(w.evict, pod), in.late
		}
		w.left = append(w.left, pod)
		lowest = min(lowest, tierOf(pod))
	}
	w.evict = slices.DeleteFunc(w.evict, func(pod *corev1.Pod) bool { return tierOf(pod) > lowest })
	return w
}

// advance evicts what can be evicted now, and returns the pods that are waited
// for. While there is a pod that may neither stay nor be evicted, nothing is.
func (d *drain) advance(ctx context.Context, node *corev1.Node, pods []*corev1.Pod) ([]*corev1.Pod, error) {
	in := circumstancesOf(node, d.clock.Now())
	w := d.sort(pods, in)
	if len(w.refused) > 0 {
		return nil, fmt.Errorf("not draining node %s, some pods must not be evicted: %s", node.Name, strings.Join(w.refused, "; "))
	}
	d.due = time.Time{}
	w.evict = d.holdBack(w.evict, w.late, in.now)
	var failed error
	w.evict, failed = d.requestAll(ctx, w.evict)
	for i, err := range d.tryAll(ctx, w.evict, in.unreachable) {
		// One pod that cannot be evicted keeps no other from it.
		if err != nil {
			failed = inOneLine(failed, fmt.Errorf("evicting pod %s: %w", nameOf(w.evict[i]), err))
		} else if known := d.tries[w.evict[i].UID]; !known.accepted {
			d.lookAgain(known.next)
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

func (d *drain) lookAgain(at time.Time) {
	if d.due.IsZero() || at.Before(d.due) {
		d.due = at
	}
}

// atOnce is how many evictions of one Node are requested at the same time, if the limiter
// has as many slots. Each takes the API
// server up to 100 ms, for it waits until its cache of budgets is the newest.
const atOnce = 10

// tryAll tries each pod and returns the error of each. Pods of one controller,
// which mostly share a budget, go one after the other: the API server sleeps for
// half a second when two evictions meet at a budget.
func (d *drain) tryAll(ctx context.Context, pods []*corev1.Pod, unreachable bool) []error {
	errs := make([]error, len(pods))
	families := map[types.UID][]int{}
	for i, pod := range pods {
		family := pod.UID
		if owner := metav1.GetControllerOf(pod); owner != nil {
			family = owner.UID
		}
		families[family] = append(families[family], i)
		if d.tries[pod.UID] == nil {
			d.tries[pod.UID] = &try{delay: firstDelay}
		}
	}
	queue := make(chan []int, len(families))
	for _, family := range families {
		queue <- family
	}
	close(queue)
	var group sync.WaitGroup
	for range min(atOnce, len(families)) {
		group.Go(func() {
			for family := range queue {
				for _, i := range family {
					if ctx.Err() == nil {
						errs[i] = d.try(ctx, pods[i], unreachable)
					}
				}
			}
		})
	}
	group.Wait()
	return errs
}

// try evicts a Pod unless that is not due yet, or was accepted already and not for a kubelet
// that does not answer any more.
func (d *drain) try(ctx context.Context, pod *corev1.Pod, unreachable bool) error {
	known := d.tries[pod.UID]
	again := pods.Terminating(pod) && unreachable && !known.shortened
	if known.accepted && !again || d.clock.Now().Before(known.next) {
		return nil
	}
	release, err := d.limiter.acquire(ctx, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	now := d.clock.Now()
	forceAt, forces := d.forceAt()
	forced := forces && !now.Before(forceAt)
	done := "pod evicted"
	if again {
		done = "pod evicted again, with the shortest grace period"
	}
	if forced {
		var evicted bool
		if evicted, err = d.delete(ctx, pod, d.grace(unreachable)); !evicted {
			done = "pod deleted, its budgets were not asked"
		}
	} else {
		err = d.evict(ctx, pod, d.grace(unreachable), false)
	}
	release()
	var blocked blockedError
	switch {
	case err == nil:
		known.accepted, known.shortened, known.blocked, known.namespace = true, unreachable, "", false
		log := d.target.Log.With("pod", nameOf(pod))
		if reason := d.decide(pod, circumstances{unreachable: unreachable}).reason; reason != "" {
			log = log.With("reason", reason)
		}
		log.Info(done)
	case errors.As(err, &blocked):
		known.blocked, known.namespace = blocked.reason, blocked.cause == api.BlockedByNamespace
		known.next = now.Add(max(known.delay, blocked.after))
		if forces && !forced && forceAt.Before(known.next) {
			known.next = forceAt
		}
		known.delay = min(2*known.delay, lastDelay)
	default:
		return err
	}
	return nil
}

// shortest is the shortest grace period, in seconds, that leaves the Pod in the API until it
// has ended.
const shortest = 1

// grace is the time that a pod gets to end, nil for its own. On a Node that does
// not answer it would only be waited for: nothing ends there.
func (p *plugin) grace(unreachable bool) *int64 {
	if unreachable {
		return ptr.To[int64](shortest)
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
	case <-due:
	}
	return nil
}
