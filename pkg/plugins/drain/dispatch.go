package drain

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// maxConcurrent limits the eviction requests of one Node in flight, besides the limiter. For each
// request, the API server waits up to 100 ms until its cache of budgets is current.
const maxConcurrent = 30

// dispatcher requests evictions in one pass over the Pods, each at most once. One goroutine makes
// all decisions; others only send the requests.
type dispatcher struct {
	*drain
	unreachable bool
	pods        []*corev1.Pod
	errs        []error
	// waiting are the indexes of the Pods whose eviction is not requested yet.
	waiting []int
	// inFlight counts requests by the controller of the Pod, and total all of them.
	inFlight map[types.UID]int
	total    int
	outcomes chan outcome
}

// outcome is the result of the request for one Pod, and the budgets that it used.
type outcome struct {
	index   int
	result  result
	budgets []*policyv1.PodDisruptionBudget
}

// dispatchAll requests the evictions of the Pods that are ready, and returns an error for each Pod.
// It returns when no request is in flight and none can be sent.
func (d *drain) dispatchAll(ctx context.Context, pods []*corev1.Pod, unreachable bool) []error {
	p := &dispatcher{
		drain: d, unreachable: unreachable, pods: pods, errs: make([]error, len(pods)),
		inFlight: map[types.UID]int{}, outcomes: make(chan outcome),
	}
	for i, pod := range pods {
		if d.evictions[pod.UID] == nil {
			d.evictions[pod.UID] = &evictionState{delay: firstDelay}
		}
		p.waiting = append(p.waiting, i)
	}
	for {
		p.send(ctx)
		if p.total == 0 {
			break
		}
		select {
		case outcome := <-p.outcomes:
			p.receive(ctx, outcome)
		case <-d.budgets.changed:
		}
	}
	blocked := map[string]bool{}
	for _, pod := range pods {
		if state := d.evictions[pod.UID]; !state.accepted && state.byBudget {
			blocked[pod.Namespace] = true
		}
	}
	for _, i := range p.waiting { // Other Nodes use their budgets.
		blocked[pods[i].Namespace] = true
	}
	d.budgets.keep(blocked)
	return p.errs
}

// send requests the evictions that may be requested now.
func (p *dispatcher) send(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	var waiting []int
	for _, i := range p.waiting {
		pod := p.pods[i]
		if p.total >= maxConcurrent || p.inFlight[controllerOf(pod)] >= p.window(pod).limit() {
			waiting = append(waiting, i)
			continue
		}
		switch readiness, used := p.readiness(pod); readiness {
		case awaitsBudget:
			waiting = append(waiting, i)
		case isReady:
			p.total++
			p.inFlight[controllerOf(pod)]++
			go func() { p.outcomes <- outcome{i, p.evictOrDelete(ctx, pod, p.unreachable), used} }()
		}
	}
	p.waiting = waiting
}

// receive records the outcome of a request.
func (p *dispatcher) receive(ctx context.Context, outcome outcome) {
	pod := p.pods[outcome.index]
	p.total--
	p.inFlight[controllerOf(pod)]--
	p.disruptions.release(outcome.budgets)
	p.errs[outcome.index] = p.record(pod, outcome.result)
	if outcome.result.err == nil {
		p.window(pod).accepted()
	} else {
		p.window(pod).refused()
	}
	if p.evictions[pod.UID].byBudget {
		p.budgets.follow(ctx, pod.Namespace)
	}
}

// readiness describes whether the eviction of a Pod can be requested now.
type readiness int

const (
	// notDue: not in this pass.
	notDue readiness = iota
	// awaitsBudget: a budget must change first.
	awaitsBudget
	// isReady: now.
	isReady
)

// readiness returns whether to request the eviction of a Pod. If so, it reserves a disruption of each
// budget that the eviction uses, as far as these are known, and returns them.
func (p *dispatcher) readiness(pod *corev1.Pod) (readiness, []*policyv1.PodDisruptionBudget) {
	state := p.evictions[pod.UID]
	// Accepted before the kubelet stopped answering: evict again with the short grace period.
	again := pods.Terminating(pod) && p.unreachable && !state.shortened
	if state.accepted && !again {
		return notDue, nil
	}
	at := p.clock.Now()
	due := !at.Before(state.next) // Also if it was never requested.
	forceAt, forces := p.forceAt()
	forced := forces && !at.Before(forceAt)
	if forced && due {
		return isReady, nil
	}
	used, cache := p.budgets.of(pod)
	switch {
	case cache == syncing && (state.next.IsZero() || !due):
		return awaitsBudget, nil
	case cache != synced && due:
		state.budgets = ""
		return isReady, nil
	case cache != synced, !due && !state.byBudget:
		return notDue, nil
	}
	open := true
	for _, budget := range used {
		reason := refusal(budget)
		if reason != "" && !forced {
			state.blocked, state.byBudget = reason, true
		}
		open = open && reason == ""
	}
	versions := versionOf(used)
	switch {
	case !due && versions == state.budgets: // The API server refused with the budgets as they are.
		return awaitsBudget, nil
	case p.disruptions.tryReserve(used):
	case due && !state.next.IsZero(): // The cache may be out of date, so ask the API server.
		p.disruptions.reserve(used)
	case open: // All allowed disruptions are in flight, maybe for other Nodes, whose results this drain does not see.
		p.requeueAt(at.Add(firstDelay))
		return awaitsBudget, nil
	default:
		return awaitsBudget, nil
	}
	state.budgets = versions
	return isReady, used
}

// controllerOf returns the UID of the Pod's controller, whose Pods usually share a budget. Without a
// controller, it returns the UID of the Pod.
func controllerOf(pod *corev1.Pod) types.UID {
	if owner := metav1.GetControllerOf(pod); owner != nil {
		return owner.UID
	}
	return pod.UID
}

// window returns the window of the Pod's controller.
func (d *drain) window(pod *corev1.Pod) *window {
	controller := controllerOf(pod)
	if d.windows[controller] == nil {
		d.windows[controller] = &window{firstWindow}
	}
	return d.windows[controller]
}
