package drain

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/pods"
)

// atOnce is how many evictions of one Node are requested at the same time, if the limiter
// has as many slots. Each takes the API server up to 100 ms, for it waits until its cache of
// budgets is the newest.
const atOnce = 10

// dispatcher requests evictions in one pass over the Pods, each at most once. All decisions are
// made by one goroutine; only the requests are sent by others.
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
	answers  chan answer
}

// answer is what came of one request.
type answer struct {
	index   int
	attempt attempt
	budgets []*policyv1.PodDisruptionBudget
}

// tryAll tries each Pod and returns the error of each. It ends when no request is in flight
// and none can be sent.
func (d *drain) tryAll(ctx context.Context, pods []*corev1.Pod, unreachable bool) []error {
	p := &dispatcher{
		drain: d, unreachable: unreachable, pods: pods, errs: make([]error, len(pods)),
		inFlight: map[types.UID]int{}, answers: make(chan answer),
	}
	for i, pod := range pods {
		if d.tries[pod.UID] == nil {
			d.tries[pod.UID] = &try{delay: firstDelay}
		}
		p.waiting = append(p.waiting, i)
	}
	for {
		p.send(ctx)
		if p.total == 0 {
			break
		}
		select {
		case answer := <-p.answers:
			p.receive(ctx, answer)
		case <-d.budgets.changed:
		}
	}
	blocked := map[string]bool{}
	for _, pod := range pods {
		if known := d.tries[pod.UID]; !known.accepted && known.byBudget {
			blocked[pod.Namespace] = true
		}
	}
	for _, i := range p.waiting { // For what other Nodes use of a budget.
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
		if p.total >= atOnce || p.inFlight[family(pod)] >= p.window(pod).limit() {
			waiting = append(waiting, i)
			continue
		}
		switch turn, used := p.turn(pod); turn {
		case later:
			waiting = append(waiting, i)
		case now:
			p.total++
			p.inFlight[family(pod)]++
			go func() { p.answers <- answer{i, p.ask(ctx, pod, p.unreachable), used} }()
		}
	}
	p.waiting = waiting
}

// receive records what came of a request.
func (p *dispatcher) receive(ctx context.Context, answer answer) {
	pod := p.pods[answer.index]
	p.total--
	p.inFlight[family(pod)]--
	p.disruptions.end(answer.budgets)
	p.errs[answer.index] = p.conclude(pod, answer.attempt)
	if answer.attempt.err == nil {
		p.window(pod).accepted()
	} else {
		p.window(pod).refused()
	}
	if p.tries[pod.UID].byBudget {
		p.budgets.follow(ctx, pod.Namespace)
	}
}

// turn is when the eviction of a Pod is requested.
type turn int

const (
	// never in this pass.
	never turn = iota
	// later: a budget must change first.
	later
	now
)

// turn decides when the eviction of a Pod is requested. If it is now, turn counts it among the
// disruptions of the budgets that it uses, as far as they are known, and returns these.
func (p *dispatcher) turn(pod *corev1.Pod) (turn, []*policyv1.PodDisruptionBudget) {
	known := p.tries[pod.UID]
	// Accepted before the kubelet fell silent: the Pod gets the short grace period.
	again := pods.Terminating(pod) && p.unreachable && !known.shortened
	if known.accepted && !again {
		return never, nil
	}
	at := p.clock.Now()
	due := !at.Before(known.next) // Also if it was never tried.
	forceAt, forces := p.forceAt()
	forced := forces && !at.Before(forceAt)
	if forced && due {
		return now, nil
	}
	used, knowledge := p.budgets.of(pod)
	switch {
	case knowledge == listing && (known.next.IsZero() || !due):
		return later, nil
	case knowledge != current && due:
		known.budgets = ""
		return now, nil
	case knowledge != current, !due && !known.byBudget:
		return never, nil
	}
	open := true
	for _, budget := range used {
		why := closed(budget)
		if why != "" && !forced {
			known.blocked, known.byBudget = why, true
		}
		open = open && why == ""
	}
	asked := version(used)
	switch {
	case !due && asked == known.budgets: // Refused as they are.
		return later, nil
	case p.disruptions.begin(used):
	case due && !known.next.IsZero(): // What is known may be out of date, so the API server is asked.
		p.disruptions.force(used)
	case open: // All that is allowed is in flight, maybe for other Nodes, whose answers this drain does not see.
		p.lookAgain(at.Add(firstDelay))
		return later, nil
	default:
		return later, nil
	}
	known.budgets = asked
	return now, used
}

// family is the controller of a Pod, whose Pods mostly share a budget.
func family(pod *corev1.Pod) types.UID {
	if owner := metav1.GetControllerOf(pod); owner != nil {
		return owner.UID
	}
	return pod.UID
}

// window is that of the Pod's controller.
func (d *drain) window(pod *corev1.Pod) *window {
	family := family(pod)
	if d.windows[family] == nil {
		d.windows[family] = &window{firstWindow}
	}
	return d.windows[family]
}
